//! The policy.
//!
//! In: the text of one or more files, parted by lines of `#####`.
//! Properties: for everybody whom the text names and some others, a decision is that of a naive reading: never an allow
//! that is not written, never a deny that is lost; a broken file is unused as a whole, and nothing is allowed while one that
//! may deny is broken.

use fence_vmchannel_host_agent::domain::{Domain, Standing};
use fence_vmchannel_host_agent::policy::{Action, Policy};
use uuid::Uuid;

use crate::oracle::policy::{File, Who, allows};

/// More people than this make a file too slow to fuzz.
const CROWD: usize = 6;

pub(crate) fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let texts: Vec<&str> = text.split("#####\n").collect();
    let files: Vec<File> = texts.iter().map(|text| File::read(text)).collect();

    let named = texts.iter().enumerate();
    let loaded = Policy::read(named.map(|(at, text)| (Ok((*text).to_owned()), format!("{at}.toml").into())));

    let of_files = || loaded.problems.iter().filter(|problem| !problem.text.starts_with("the key "));
    let used = |at: usize| of_files().all(|problem| problem.file.as_os_str() != &*format!("{at}.toml"));
    let mut closed = false;
    for (at, (file, text)) in files.iter().zip(&texts).enumerate() {
        assert_eq!(used(at), file.is_used(), "file {at}: {:?}", loaded.problems);
        let may_close = ["deny", "signed", "\\"].iter().any(|word| text.contains(word));
        closed |= !file.is_used() && (may_close || text.trim().is_empty());
    }
    let crowd = crowd(&files);
    for (source, from) in &crowd {
        for (target, to) in &crowd {
            for action in Action::ALL {
                let decision = loaded.policy.decide(from, action, to);
                let written = !closed && allows(&files, source, action.word(), target);
                assert_eq!(decision.allowed, written, "{source:?} {action} {target:?}: {}", decision.rule);
            }
        }
    }
}

/// Everybody whom the files name, and strangers.
fn crowd(files: &[File]) -> Vec<(Who, Domain)> {
    let mut crowd = vec![who("stranger", None), who("web1", Some("web")), who("web2", Some("web"))];
    for word in files.iter().flat_map(File::words).take(CROWD) {
        match (word.strip_prefix("cluster:"), Uuid::try_parse(&word)) {
            (Some(label), _) => crowd.push(who("member", Some(label))),
            (None, Ok(uuid)) => crowd.push(Who { uuid: uuid.to_string(), ..who("by-uuid", None) }),
            (None, Err(_)) => crowd.push(who(&word, None)),
        }
    }
    crowd.into_iter().filter_map(|who| domain(&who).map(|domain| (who, domain))).collect()
}

fn who(name: &str, cluster: Option<&str>) -> Who {
    let uuid = Uuid::from_u128(name.bytes().fold(7, |sum, byte| sum * 257 % (1 << 100) + u128::from(byte)));
    Who { name: name.to_owned(), uuid: uuid.to_string(), cluster: cluster.map(ToOwned::to_owned) }
}

fn domain(who: &Who) -> Option<Domain> {
    Some(Domain {
        uuid: who.uuid.parse().ok()?,
        name: who.name.parse().ok()?,
        standing: Standing::Active,
        persistent: true,
        cluster: who.cluster.clone(),
        channels: Vec::new(),
        owner: None,
        instance: None,
    })
}
