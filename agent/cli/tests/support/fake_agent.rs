//! Owns an agent that answers what it was told to and remembers what it was asked.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// Answers by path: HTTP statuses and documents, each given once, the last for ever.
type Answers = BTreeMap<&'static str, Vec<(u16, Value)>>;

/// An agent on a socket of its own.
pub struct FakeAgent {
    folder: tempfile::TempDir,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl FakeAgent {
    /// Starts one that gives these documents.
    pub fn with<const N: usize>(answers: [(&'static str, Value); N]) -> Self {
        Self::changing(answers.map(|(path, value)| (path, vec![value])))
    }

    /// Starts one whose answers change each time it is asked; the last stays.
    pub fn changing<const N: usize>(answers: [(&'static str, Vec<Value>); N]) -> Self {
        let fine = |values: Vec<Value>| values.into_iter().map(|value| (200, value)).collect();
        Self::start(answers.into_iter().map(|(path, values)| (path, fine(values))).collect())
    }

    /// Starts one that refuses every request on a path.
    pub fn refusing(path: &'static str, status: u16) -> Self {
        let document = json!({
            "message": "not done", "cause": "because of this", "next": "do that"
        });
        Self::start(BTreeMap::from([(path, vec![(status, document)])]))
    }

    fn start(answers: Answers) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("agent.sock")).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        // The thread ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &answers, &log);
            }
        });
        Self { folder, asked }
    }

    /// Returns where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    /// Returns what it was asked, in order: path and body.
    pub fn asked(&self) -> Vec<(String, Value)> {
        self.asked.lock().unwrap().clone()
    }
}

/// Returns a path on which nobody listens.
pub fn nobody(folder: &Path) -> PathBuf {
    folder.join("nobody.sock")
}

fn answer(stream: UnixStream, answers: &Answers, log: &Mutex<Vec<(String, Value)>>) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    log.lock().unwrap().push((path.clone(), serde_json::from_slice(&body).unwrap_or_default()));
    let asked = log.lock().unwrap().iter().filter(|(other, _)| *other == path).count();
    let (status, document) = answers
        .get(path.as_str())
        .map_or((404, json!("no such path")), |all| all[(asked - 1).min(all.len() - 1)].clone());
    let text = document.to_string();
    let head = format!("HTTP/1.1 {status} Answer\r\ncontent-length: {}\r\n\r\n", text.len());
    reader.get_mut().write_all((head + &text).as_bytes()).unwrap();
}
