//! Owns making foreign text safe for a terminal. Names and reasons come from other members.

/// Returns `text` on one line, control characters spelled out.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => shown.push(' '),
            hidden if hidden.is_control() || is_format(hidden) => {
                shown.extend(hidden.escape_unicode());
            }
            plain => shown.push(plain),
        }
    }
    shown
}

/// Says whether a character moves or hides others without being seen (bidi, zero width).
fn is_format(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_cannot_move_the_cursor() {
        assert_eq!(printable("edge\u{1b}[2Ja"), "edge\\u{1b}[2Ja");
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(printable("two\nlines"), "two lines");
    }
}
