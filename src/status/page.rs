//! The page at `/`: one file that has all it needs in it, and asks `/v1/status` for the rest, once
//! a second.
//!
//! What it may do is said in [`POLICY`]: run the one script and use the one style that stand in it,
//! known by their hashes, and ask the server that it came from. A test compares the hashes.

use crate::http::answer::{Answer, Status};

/// The file.
pub const PAGE: &str = include_str!("page.html");

/// Its Content-Security-Policy.
pub const POLICY: &str = "default-src 'none'; script-src \
                          'sha256-HmhBezRPh6M3fDFSuIJN7qEigDCsoE//kE5/DotbZJI='; style-src \
                          'sha256-qzHyNfGi2VWmYWenCtVxTOmj8FYsAEHFeLIo1Y+waiM='; img-src data:; \
                          connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors \
                          'none'";

/// The page, to one who may see it.
#[must_use]
pub fn answer() -> Answer<'static> {
    Answer {
        status: Status::Ok,
        content_type: Some("text/html; charset=utf-8"),
        fields: &[
            ("Content-Security-Policy", POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            (
                "Permissions-Policy",
                "camera=(), geolocation=(), microphone=()",
            ),
            ("Cache-Control", "no-cache"),
        ],
        body: PAGE.as_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64_simd::STANDARD;
    use sha2::{Digest, Sha256};

    /// What stands in the page's only element of this name.
    fn content(element: &str) -> &'static str {
        let (begin, end) = (format!("<{element}>"), format!("</{element}>"));
        let (_, rest) = PAGE.split_once(&begin).unwrap();
        let (content, rest) = rest.split_once(&end).unwrap();
        assert!(!rest.contains(&begin), "there is one {element}");
        content
    }

    #[test]
    fn the_policy_names_the_script_and_the_style_of_the_page() {
        for element in ["script", "style"] {
            let hash = STANDARD.encode_to_string(Sha256::digest(content(element)));
            let expected = format!("{element}-src 'sha256-{hash}'");
            assert!(
                POLICY.contains(&expected),
                "the policy is to say {expected}"
            );
        }
    }

    #[test]
    fn the_page_needs_nobody_else_and_has_no_handler_or_style_in_an_element() {
        let elements = PAGE
            .replace(content("script"), "")
            .replace(content("style"), "");
        for word in [" style=", " src=", "@import", "url(", "javascript:"] {
            assert!(!elements.contains(word), "{word} stands in an element");
        }
        for handler in elements.split(" on").skip(1) {
            let name = handler.trim_start_matches(|envelope: char| envelope.is_ascii_lowercase());
            assert!(!name.starts_with('='), "a handler: on{}", &handler[..20]);
        }
        let hrefs = elements.split("href=\"").skip(1);
        for href in hrefs {
            assert!(
                href.starts_with("data:") || href.starts_with('#') || href.starts_with('/'),
                "{}",
                &href[..20]
            );
        }
        for word in ["http://", "//cdn", "innerHTML", "eval("] {
            assert!(
                !content("script")
                    .replace("http://www.w3.org/2000/svg", "")
                    .contains(word),
                "{word}"
            );
        }
    }

    #[test]
    fn the_page_is_small() {
        assert!(PAGE.len() < 48 * 1024, "{} bytes", PAGE.len());
    }
}
