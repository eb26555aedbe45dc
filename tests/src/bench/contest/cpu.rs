//! Owns the reading of processor time: `/proc/stat` of the machine, `/proc/PID/stat` of a process, as
//! proc(5) describes them. Opens no file.

/// In which all of it is counted, whatever the kernel's own tick is: USER_HZ of every architecture that
/// the product runs on. Unit: per second.
const TICKS: f64 = 100.0;

/// Processor time of a machine, or of a span of its life. Unit: ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    processes: u64,
    interrupts: u64,
    idle: u64,
    steal: u64,
}

impl Machine {
    /// Of all processors together; `None`: no such text.
    pub fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let fields: Option<Vec<u64>> =
            line.split_whitespace().map(|field| field.parse().ok()).collect();
        // Guests' time is in `user` already.
        let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = fields?[..] else {
            return None;
        };
        Some(Self {
            processes: user + nice + system,
            interrupts: irq + softirq,
            idle: idle + iowait,
            steal,
        })
    }

    /// What passed since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            processes: self.processes.saturating_sub(earlier.processes),
            interrupts: self.interrupts.saturating_sub(earlier.interrupts),
            // iowait may go backwards.
            idle: self.idle.saturating_sub(earlier.idle),
            steal: self.steal.saturating_sub(earlier.steal),
        }
    }

    /// Unit: seconds.
    pub fn busy(self) -> f64 {
        seconds(self.processes + self.interrupts)
    }

    /// What the hypervisor gave to others, as a part of all there was.
    pub fn stolen(self) -> f64 {
        self.part(seconds(self.steal))
    }

    /// What processes had beside those that had `ours` seconds, as a part of all there was.
    pub fn foreign(self, ours: f64) -> f64 {
        self.part((seconds(self.processes) - ours).max(0.0))
    }

    fn part(self, of: f64) -> f64 {
        let all = seconds(self.processes + self.interrupts + self.idle + self.steal);
        if all > 0.0 { of / all } else { 0.0 }
    }
}

/// What a process had, and those of its children that have ended. Unit: seconds.
pub fn process(stat: &str) -> Option<f64> {
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: Option<Vec<u64>> =
        rest.split_whitespace().skip(11).take(4).map(|field| field.parse().ok()).collect();
    ticks.filter(|ticks| ticks.len() == 4).map(|ticks| seconds(ticks.iter().sum()))
}

#[expect(clippy::cast_precision_loss, reason = "2^53 ticks are millions of years")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / TICKS
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "cpu  1000 200 300 5000 50 10 20 30 7 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
    const AFTER: &str = "cpu  1100 220 380 5070 40 15 125 60 9 0\n";

    fn span() -> Machine {
        Machine::parse(AFTER).unwrap().since(Machine::parse(BEFORE).unwrap())
    }

    #[test]
    fn busy_is_all_but_idle_and_stolen_time() {
        // 100 + 20 + 80 of processes, 5 + 105 of interrupts.
        assert!((span().busy() - 3.1).abs() < 1e-9);
    }

    #[test]
    fn stolen_and_foreign_time_are_parts_of_all_time() {
        // 310 busy, 60 idle, of which iowait went back by 10, 30 stolen.
        assert!((span().stolen() - 30.0 / 400.0).abs() < 1e-9);
        assert!((span().foreign(1.5) - 50.0 / 400.0).abs() < 1e-9);
        assert!(span().foreign(9.0).abs() < 1e-9);
    }

    #[test]
    fn a_process_has_its_own_time_and_that_of_children_that_ended() {
        let stat = "12 (a) b (c) S 1 12 12 0 -1 4194560 5 6 7 8 150 50 20 30 20 0 3 0 99";
        assert_eq!(process(stat), Some(2.5));
    }

    #[test]
    fn other_texts_are_none() {
        assert_eq!(Machine::parse("intr 1 2 3"), None);
        assert_eq!(Machine::parse("cpu  1 2 3"), None);
        assert_eq!(process("12 (a) S 1 2"), None);
    }
}
