//! The grammar of a layer list (`lowerdir=`, `--lower`): the kernel overlayfs', see `shared/overlay-format.md`.

use std::path::PathBuf;

use super::split::unescape;

/// Why a layer list cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LayerListError {
    /// The list is empty.
    #[error("the list of layers is empty; name at least one directory")]
    Empty,
    /// The list begins with `:`.
    #[error(
        "the list of layers begins with ':'; remove it, or write '\\:' for a colon that is part of a name"
    )]
    LeadingColon,
    /// The list ends with `:`.
    #[error("the list of layers ends with ':'; remove it, or write '\\:' for a colon that is part of a name")]
    TrailingColon,
    /// The list contains `::`.
    #[error("data-only layers ('::') are not supported; separate ordinary layers with a single ':'")]
    DataOnly,
}

/// Reads `A[:B…]`, top-most first. `\:` `\,` `\\` stand for the plain character.
///
/// # Errors
/// See `LayerListError`.
pub fn parse_layers(text: &[u8]) -> Result<Vec<PathBuf>, LayerListError> {
    if text.is_empty() {
        return Err(LayerListError::Empty);
    }
    let elements = split_colons(text);
    let last = elements.len() - 1;
    let Some(hole) = elements.iter().position(|element| element.is_empty()) else {
        return Ok(elements.into_iter().map(|element| PathBuf::from(unescape(element))).collect());
    };
    Err(match hole {
        0 => LayerListError::LeadingColon,
        hole if hole == last => LayerListError::TrailingColon,
        _ => LayerListError::DataOnly,
    })
}

fn split_colons(text: &[u8]) -> Vec<&[u8]> {
    let mut escaped = false;
    text.split(|&byte| {
        let separates = byte == b':' && !escaped;
        escaped = byte == b'\\' && !escaped;
        separates
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    fn layers(text: &str) -> Result<Vec<PathBuf>, LayerListError> {
        parse_layers(text.as_bytes())
    }

    #[test]
    fn colons_separate() {
        assert_eq!(layers("/a").unwrap(), [Path::new("/a")]);
        assert_eq!(layers("l/A:l/B/../diff1:c").unwrap(), ["l/A", "l/B/../diff1", "c"].map(PathBuf::from));
    }

    #[test]
    fn escapes_are_decoded() {
        assert_eq!(
            layers(r"/a\:b:/c\,d:/e\\:/f").unwrap(),
            ["/a:b", "/c,d", r"/e\", "/f"].map(PathBuf::from)
        );
        assert_eq!(layers(r"\:a\:").unwrap(), [Path::new(":a:")]);
        assert_eq!(layers("/a,b").unwrap(), [Path::new("/a,b")]);
    }

    #[test]
    fn bytes_are_kept() {
        assert_eq!(parse_layers(b"/\xff\xfe:b").unwrap()[0].as_os_str(), OsStr::from_bytes(b"/\xff\xfe"));
    }

    #[test]
    fn bad_lists_are_refused() {
        for (list, error) in [
            ("", LayerListError::Empty),
            (":", LayerListError::LeadingColon),
            (":/a", LayerListError::LeadingColon),
            ("::/a", LayerListError::LeadingColon),
            ("/a:", LayerListError::TrailingColon),
            (r"/a\\:", LayerListError::TrailingColon),
            ("/a::/b", LayerListError::DataOnly),
            ("/a:/b::/c::/d", LayerListError::DataOnly),
            ("/a::", LayerListError::DataOnly),
        ] {
            assert_eq!(layers(list), Err(error), "{list}");
        }
    }
}
