//! The operator's guide at `/guide`: `docs/operations.md` as a page without a script, so that the
//! page's links to its sections lead somewhere on a host that reaches nobody else.

use std::sync::OnceLock;

use pulldown_cmark::html::push_html;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

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

/// Markdown as HTML. A heading has the name in links that GitHub gives it; a link to another
/// document, which nobody would find here, is its words.
fn html(markdown: &str) -> String {
    let mut events: Vec<Event<'_>> = Parser::new_ext(markdown, Options::ENABLE_TABLES).collect();
    let mut heading = None;
    for at in 0..events.len() {
        match &mut events[at] {
            // It would be told by a style, which the policy forbids.
            Event::Start(Tag::Table(alignments)) => alignments.clear(),
            Event::Start(Tag::Heading { .. }) => heading = Some((at, String::new())),
            Event::Text(words) | Event::Code(words) => {
                if let Some((_, title)) = &mut heading {
                    title.push_str(words);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                if let Some((start, title)) = heading.take()
                    && let Event::Start(Tag::Heading { id, .. }) = &mut events[start]
                {
                    *id = Some(slug(&title).into());
                }
            }
            _ => {}
        }
    }
    let mut leads_here = true;
    let shown = events.into_iter().filter(|event| match event {
        Event::Start(Tag::Link { dest_url, .. }) => {
            leads_here = dest_url.starts_with('#');
            leads_here
        }
        Event::End(TagEnd::Link) => leads_here,
        _ => true,
    });
    let mut out = String::new();
    push_html(&mut out, shown);
    out
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

#[cfg(test)]
mod tests {
    use super::*;
    use base64_simd::STANDARD;
    use sha2::{Digest, Sha256};

    #[test]
    fn headings_have_names_and_links_to_other_documents_are_words() {
        let markdown = "# The *guide* & `a<b`\n\n[here](#a-b), [`there`](x.md)\n";
        let expected = "<h1 id=\"the-guide--ab\">The <em>guide</em> &amp; <code>a&lt;b</code>\
            </h1>\n<p><a href=\"#a-b\">here</a>, <code>there</code></p>\n";
        assert_eq!(html(markdown), expected);
    }

    #[test]
    fn no_cell_of_a_table_has_a_style_of_its_own() {
        let shown = html("| a |\n|--:|\n| `b` |\n");
        assert!(shown.contains("<td><code>b</code></td>"), "{shown}");
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
