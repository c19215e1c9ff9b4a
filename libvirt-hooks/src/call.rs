//! One call of the hook, read from its arguments.
//!
//! In:  libvirt's arguments: domain name, operation, sub-operation, extra.
//! Out: a [`Call`], and the note that tells the agent about it.
//!
//! Invariant: any arguments are answered; what is not UTF-8 is replaced, since a note is only a hint.

use std::ffi::OsString;

use fence_vmchannel_protocol::note::{DomainXml, MAX_XML_BYTES, Note, Operation};

use crate::input::Input;

/// What libvirt said on the command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Call {
    domain: String,
    operation: String,
    sub_operation: String,
    extra: String,
}

impl Call {
    /// The call, unless domain or operation are missing.
    #[must_use]
    pub fn from_arguments(arguments: &[OsString]) -> Option<Self> {
        let mut words = arguments.iter().map(|word| word.to_string_lossy().into_owned());
        let absent = || "-".to_owned(); // libvirt's own way to leave an argument out
        Some(Self {
            domain: words.next()?,
            operation: words.next()?,
            sub_operation: words.next().unwrap_or_else(absent),
            extra: words.next().unwrap_or_else(absent),
        })
    }

    /// Whether QEMU is about to be started.
    #[must_use]
    pub fn is_before_start(&self) -> bool {
        self.operation == "prepare" && self.sub_operation == "begin"
    }

    /// The note for the agent.
    #[must_use]
    pub fn note(self, input: &Input) -> Note {
        let believable = input.whole && input.bytes.len() <= MAX_XML_BYTES;
        let text = believable.then(|| std::str::from_utf8(&input.bytes).ok()).flatten();
        Note {
            operation: Operation::from(self.operation),
            sub_operation: self.sub_operation,
            extra: self.extra,
            domain: self.domain,
            xml: text.map_or(DomainXml::Omitted, |xml| DomainXml::Whole(xml.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Call;
    use crate::input::Input;
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn arguments_that_are_missing_or_not_utf8_make_no_trouble() {
        let odd = OsString::from_vec(vec![b'w', 0xff]);

        assert_eq!(Call::from_arguments(&[]), None);
        assert_eq!(Call::from_arguments(std::slice::from_ref(&odd)), None);
        let call = Call::from_arguments(&[odd, "start".into()]).unwrap();
        assert_eq!((call.domain.as_str(), call.extra.as_str()), ("w\u{fffd}", "-"));
    }

    #[test]
    fn a_part_of_the_xml_is_never_passed_on() {
        let call = || Call::from_arguments(&["web1".into(), "start".into()]).unwrap();
        let input = |whole, bytes: &[u8]| Input { whole, bytes: bytes.to_vec() };

        assert_eq!(call().note(&input(true, b"<domain/>")).xml.whole(), Some("<domain/>"));
        assert_eq!(call().note(&input(false, b"<domain/>")).xml.whole(), None);
        assert_eq!(call().note(&input(true, b"\xff")).xml.whole(), None);
    }
}
