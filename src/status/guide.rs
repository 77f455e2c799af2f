//! The operator's guide at `/guide`: `docs/operations.md` as a page without a script, so that the
//! page's links to its sections lead somewhere on a host that reaches nobody else.
//!
//! Of Markdown it knows what the guide uses: headings, paragraphs, lists, tables, code, links,
//! stress. What it does not know it shows as it stands.

use std::fmt::Write as _;
use std::sync::OnceLock;

use crate::http::answer::{Answer, Status};

/// The text.
const GUIDE: &str = include_str!("../../docs/operations.md");

/// Its Content-Security-Policy: it has one style, known by its hash, and asks nobody for anything.
const POLICY: &str = "default-src 'none'; style-src \
                      'sha256-IAdJD/GtNwd4nGW4HfPBuUsqPF2sbZk3drKqCtjq0hA='; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Everything before the text.
const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta \
    name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" \
    content=\"light dark\"><title>hustdbsync: the operator's guide</title><link rel=\"icon\" \
    href=\"data:,\"><style>body{max-width:52rem;margin:0 auto;padding:1rem;font:15px/1.5 \
    system-ui,sans-serif}pre,code{font-family:ui-monospace,Menlo,Consolas,monospace;\
    font-size:.9em}pre{overflow-x:auto;padding:.6rem;border:1px solid #8886}\
    table{border-collapse:collapse;display:block;overflow-x:auto}td,th{border:1px solid \
    #8886;padding:.2rem .5rem;text-align:left;vertical-align:top}:target{outline:2px solid \
    #0b5fce}</style></head><body><p><a href=\"/\">Back to the backends</a></p>";

/// The guide, to one who may see it.
#[must_use]
pub(super) fn answer() -> Answer<'static> {
    static PAGE: OnceLock<String> = OnceLock::new();
    let page = PAGE.get_or_init(|| format!("{HEAD}{}</body></html>\n", html(GUIDE)));
    Answer {
        status: Status::Ok,
        content_type: Some("text/html; charset=utf-8"),
        fields: &[
            ("Content-Security-Policy", POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-cache"),
        ],
        body: page.as_bytes(),
    }
}

/// What a line belongs to, by how it begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    None,
    Paragraph,
    Item,
    Table,
    Code,
}

impl Block {
    fn ends_with(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Paragraph => "</p>\n",
            Self::Item => "</li></ul>\n",
            Self::Table => "</table>\n",
            Self::Code => "</pre>\n",
        }
    }
}

/// Markdown as HTML.
fn html(text: &str) -> String {
    let mut out = String::new();
    let mut block = Block::None;
    for line in text.lines() {
        let begins = line.trim_start();
        if begins.starts_with("```") {
            out.push_str(block.ends_with());
            block = if block == Block::Code {
                Block::None
            } else {
                out.push_str("<pre>");
                Block::Code
            };
            continue;
        }
        if block == Block::Code {
            escape(line, &mut out);
            out.push('\n');
            continue;
        }
        if begins.is_empty() {
            out.push_str(block.ends_with());
            block = Block::None;
            continue;
        }
        if let Some((level, title)) = heading(line) {
            out.push_str(block.ends_with());
            block = Block::None;
            // Writing to a `String` cannot fail.
            let _ = write!(out, "<h{level} id=\"{}\">", slug(title));
            inline(title, &mut out);
            let _ = writeln!(out, "</h{level}>");
            continue;
        }
        if begins.starts_with('|') {
            if block != Block::Table {
                out.push_str(block.ends_with());
                out.push_str("<table>");
                block = Block::Table;
            }
            table_row(begins, &mut out);
            continue;
        }
        if let Some(item) = item(begins) {
            out.push_str(match block {
                Block::Item => "</li><li>",
                _ => block.ends_with(),
            });
            if block != Block::Item {
                out.push_str("<ul><li>");
            }
            block = Block::Item;
            inline(item, &mut out);
            continue;
        }
        if block == Block::None {
            out.push_str("<p>");
            block = Block::Paragraph;
        }
        out.push(' ');
        inline(begins, &mut out);
    }
    out.push_str(block.ends_with());
    out
}

fn heading(line: &str) -> Option<(usize, &str)> {
    let level = line.len() - line.trim_start_matches('#').len();
    let title = line[level..].strip_prefix(' ')?;
    (1..=6).contains(&level).then_some((level, title))
}

/// What stands behind a list's mark, with its number where it has one.
fn item(line: &str) -> Option<&str> {
    let number = line.trim_start_matches(|character: char| character.is_ascii_digit());
    let is_numbered = number.len() < line.len() && number.starts_with(". ");
    line.strip_prefix("- ").or(is_numbered.then_some(line))
}

fn table_row(line: &str, out: &mut String) {
    let cells = line.trim_matches('|').split('|').map(str::trim);
    let is_rule = cells
        .clone()
        .all(|cell| !cell.is_empty() && cell.bytes().all(|byte| b"-:".contains(&byte)));
    if is_rule {
        return;
    }
    out.push_str("<tr>");
    for cell in cells {
        out.push_str("<td>");
        inline(cell, out);
        out.push_str("</td>");
    }
    out.push_str("</tr>\n");
}

/// A heading's name in links, as GitHub makes it.
fn slug(title: &str) -> String {
    title
        .to_lowercase()
        .chars()
        .filter(|character| character.is_alphanumeric() || " -_".contains(*character))
        .map(|character| if character == ' ' { '-' } else { character })
        .collect()
}

/// A line's text: code, links and stress in it.
fn inline(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some(place) = rest.find(['`', '[', '*']) {
        escape(&rest[..place], out);
        rest = &rest[place..];
        rest = code(rest, out)
            .or_else(|| stress(rest, out))
            .or_else(|| link(rest, out))
            .unwrap_or_else(|| {
                escape(&rest[..1], out);
                &rest[1..]
            });
    }
    escape(rest, out);
}

fn code<'a>(text: &'a str, out: &mut String) -> Option<&'a str> {
    let (code, rest) = text.strip_prefix('`')?.split_once('`')?;
    out.push_str("<code>");
    escape(code, out);
    out.push_str("</code>");
    Some(rest)
}

fn stress<'a>(text: &'a str, out: &mut String) -> Option<&'a str> {
    let (words, rest) = text.strip_prefix("**")?.split_once("**")?;
    out.push_str("<b>");
    inline(words, out);
    out.push_str("</b>");
    Some(rest)
}

/// A link to a section of the guide; of one to another document the words.
fn link<'a>(text: &'a str, out: &mut String) -> Option<&'a str> {
    let (words, rest) = text.strip_prefix('[')?.split_once("](")?;
    let (target, rest) = rest.split_once(')')?;
    let is_here = target.starts_with('#');
    if is_here {
        out.push_str("<a href=\"");
        escape(target, out);
        out.push_str("\">");
    }
    inline(words, out);
    out.push_str(if is_here { "</a>" } else { "" });
    Some(rest)
}

fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64_simd::STANDARD;
    use sha2::{Digest, Sha256};

    #[track_caller]
    fn check(markdown: &str, expected: &str) {
        assert_eq!(html(markdown), expected);
    }

    #[test]
    fn what_the_guide_uses_is_understood() {
        check(
            "# The *guide* & `a<b`\n\ntwo\nlines\n",
            "<h1 id=\"the-guide--ab\">The *guide* &amp; <code>a&lt;b</code></h1>\n\
             <p> two lines</p>\n",
        );
        check(
            "- **a** b\n- c\n  d\n\ne",
            "<ul><li><b>a</b> b</li><li>c d</li></ul>\n<p> e</p>\n",
        );
        check("1. a\n2. b\n", "<ul><li>1. a</li><li>2. b</li></ul>\n");
        check(
            "| a | b |\n|---|--:|\n| 1 | `2` |\n",
            "<table><tr><td>a</td><td>b</td></tr>\n\
             <tr><td>1</td><td><code>2</code></td></tr>\n</table>\n",
        );
        check(
            "```sh\n# no <heading>\n```\n",
            "<pre># no &lt;heading&gt;\n</pre>\n",
        );
        check(
            "[here](#a-b), [there](x.md) and [no link] `",
            "<p> <a href=\"#a-b\">here</a>, there and [no link] `</p>\n",
        );
    }

    #[test]
    fn no_text_is_cut_off_by_what_it_does_not_end() {
        for text in ["a `b", "**b", "[c](d", "[", "*", "```\nx", "| a"] {
            let shown = html(text);
            let last = text.chars().last().unwrap().to_string();
            assert!(shown.contains(&last), "{text}: {shown}");
        }
    }

    #[test]
    fn each_section_that_the_page_links_is_there() {
        let guide = String::from_utf8(answer().body.to_vec()).unwrap();
        let page = super::super::page::PAGE;
        let in_links = page.split("/guide#").skip(1);
        let in_links = in_links.map(|rest| rest.split('"').next().unwrap());
        let (_, script) = page.split_once("<script>").unwrap();
        let in_script = script
            .split('"')
            .filter(|word| word.starts_with("hustdbsync") || word.contains("-lines"));
        let in_script = in_script.filter(|word| {
            word.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        });
        let anchors: Vec<&str> = in_links.chain(in_script).collect();
        assert!(anchors.len() > 9, "{anchors:?}");
        for anchor in anchors.into_iter().filter(|anchor| !anchor.is_empty()) {
            let id = format!(" id=\"{anchor}\">");
            assert!(guide.contains(&id), "{anchor} is no section of the guide");
        }
    }

    #[test]
    fn every_link_in_it_leads_somewhere_and_its_style_is_that_of_the_policy() {
        let guide = String::from_utf8(answer().body.to_vec()).unwrap();
        for link in guide.split("href=\"#").skip(1) {
            let (anchor, _) = link.split_once('"').unwrap();
            assert!(guide.contains(&format!(" id=\"{anchor}\">")), "{anchor}");
        }
        let (_, style) = HEAD.split_once("<style>").unwrap();
        let (style, _) = style.split_once("</style>").unwrap();
        let hash = STANDARD.encode_to_string(Sha256::digest(style));
        let expected = format!("style-src 'sha256-{hash}'");
        assert!(
            POLICY.contains(&expected),
            "the policy is to say {expected}"
        );
    }
}
