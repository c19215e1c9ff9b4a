//! Command lines that put this agent into a Pacemaker cluster, ready to be run.
//!
//! In:  the cluster's nodes, as `NODE` or, where the virtual machine has another name, `NODE:TARGET`.
//! Out: lines for `pcs` or `crm`.
//!
//! Invariant: nothing that a shell, Pacemaker or its host map would read in another way gets into a line.

use std::ffi::OsString;

use fence_vmchannel_protocol::{Target, WordError};

/// Whose words the lines are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shell {
    Pcs,
    Crm,
}

/// A node, and the virtual machine that it is.
struct Node {
    name: String,
    target: String,
}

/// Why there are no lines.
#[derive(Debug, thiserror::Error)]
pub enum LinesError {
    /// No node was named.
    #[error("name the cluster's nodes, as NODE or NODE:VIRTUAL-MACHINE: {option} node1:web1 node2:web2")]
    NoNodes {
        /// The option that was given.
        option: String,
    },
    /// A node's name has characters that host names have not.
    #[error(
        "{word:?} is no node: a name of letters, digits, '.', '_' and '-' (then, if wanted, ':VIRTUAL-MACHINE')"
    )]
    Node {
        /// What was given.
        word: String,
    },
    /// A virtual machine's name would be misread.
    #[error(
        "{name:?} cannot stand in a host map; name the virtual machine by its UUID (fence_vmchannel -o list)"
    )]
    Target {
        /// What was given.
        name: String,
    },
    /// A virtual machine's name is none.
    #[error("{name:?} cannot be the name of a virtual machine")]
    Name {
        /// What was given.
        name: String,
        /// Why.
        #[source]
        source: WordError,
    },
    /// A node was named twice.
    #[error("the node {name} is named twice")]
    Twice {
        /// The node.
        name: String,
    },
}

/// The lines, where the first argument is `--print-pcs` or `--print-crm`.
///
/// # Errors
/// [`LinesError`]
pub fn print(arguments: &[OsString]) -> Option<Result<Vec<String>, LinesError>> {
    let option = arguments.get(1)?.to_str()?;
    let shell = match option {
        "--print-pcs" => Shell::Pcs,
        "--print-crm" => Shell::Crm,
        _ => return None,
    };
    let words = arguments.iter().skip(2).map(|word| word.to_string_lossy().into_owned());
    let nodes = words.map(Node::of).collect::<Result<Vec<_>, _>>();
    Some(nodes.and_then(|nodes| lines(shell, option, &nodes)))
}

fn lines(shell: Shell, option: &str, nodes: &[Node]) -> Result<Vec<String>, LinesError> {
    let Some(first) = nodes.first() else { return Err(LinesError::NoNodes { option: option.to_owned() }) };
    let mut seen = Vec::new();
    for node in nodes {
        if seen.contains(&&node.name) {
            return Err(LinesError::Twice { name: node.name.clone() });
        }
        seen.push(&node.name);
    }
    let (create, params, property) = match shell {
        Shell::Pcs => ("pcs stonith create fence-vmchannel fence_vmchannel", "", "pcs property set"),
        Shell::Crm => (
            "crm configure primitive fence-vmchannel stonith:fence_vmchannel",
            "params ",
            "crm configure property",
        ),
    };
    let map: Vec<String> = nodes.iter().map(|node| format!("{}:{}", node.name, node.target)).collect();
    let delays =
        nodes.iter().map(|node| format!("{}:{}s", node.name, if node.name == first.name { 3 } else { 0 }));
    let delays = delays.collect::<Vec<_>>().join(";");
    let prefer = match shell {
        Shell::Pcs => format!("#   pcs stonith update fence-vmchannel pcmk_delay_base=\"{delays}\""),
        Shell::Crm => format!("#   crm resource param fence-vmchannel set pcmk_delay_base \"{delays}\""),
    };
    Ok(vec![
        "# on one node of the cluster; each node needs its channel and fence_vmchannel (check: fence_vmchannel -o list)"
            .to_owned(),
        format!(
            "{create} {params}pcmk_host_map=\"{}\" pcmk_host_check=static-list op monitor interval=60s timeout=60s",
            map.join(";"),
        ),
        format!("{property} stonith-enabled=true"),
        format!("# one node survives in any case; to let it be {} when both could be (Pacemaker 2.1.2 or later):", first.name),
        prefer,
    ])
}

impl Node {
    fn of(word: String) -> Result<Self, LinesError> {
        let (name, target) = word.split_once(':').unwrap_or((&word, &word));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.starts_with('-') || !name.chars().all(plain) {
            return Err(LinesError::Node { word });
        }
        let owned = || target.to_owned();
        target.parse::<Target>().map_err(|source| LinesError::Name { name: owned(), source })?;
        // Between the quotes of a shell, and in a map that ends names by these, nothing else is safe.
        if !target.chars().all(|c| plain(c) || matches!(c, '+' | '@' | '%' | '/')) {
            return Err(LinesError::Target { name: owned() });
        }
        Ok(Self { name: name.to_owned(), target: owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(words: &[&str]) -> Option<Result<Vec<String>, String>> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        print(&words).map(|lines| lines.map_err(|error| error.to_string()))
    }

    fn error(words: &[&str]) -> String {
        printed(words).unwrap().unwrap_err()
    }

    #[test]
    fn a_two_node_cluster_gets_its_lines_for_pcs() {
        let lines = printed(&["fence_vmchannel", "--print-pcs", "node1:web1", "node2"]).unwrap().unwrap();

        let commands: Vec<_> = lines.iter().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            commands,
            [
                "pcs stonith create fence-vmchannel fence_vmchannel pcmk_host_map=\"node1:web1;node2:node2\" \
                 pcmk_host_check=static-list op monitor interval=60s timeout=60s",
                "pcs property set stonith-enabled=true",
            ]
        );
        assert!(lines.last().unwrap().ends_with("pcmk_delay_base=\"node1:3s;node2:0s\""));
    }

    #[test]
    fn a_two_node_cluster_gets_its_lines_for_crm() {
        let lines = printed(&["fence_vmchannel", "--print-crm", "node1:web1", "node2"]).unwrap().unwrap();

        let commands: Vec<_> = lines.iter().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            commands,
            [
                "crm configure primitive fence-vmchannel stonith:fence_vmchannel params \
                 pcmk_host_map=\"node1:web1;node2:node2\" pcmk_host_check=static-list op monitor interval=60s timeout=60s",
                "crm configure property stonith-enabled=true",
            ]
        );
    }

    #[test]
    fn every_line_is_one_that_a_shell_reads_as_it_stands() {
        for option in ["--print-pcs", "--print-crm"] {
            let lines = printed(&["fence_vmchannel", option, "n1:a+b@c%d/e", "n2"]).unwrap().unwrap();
            let script = lines.join("\n");
            let read = std::process::Command::new("sh").args(["-nc", &script]).output().unwrap();
            assert!(read.status.success() && read.stderr.is_empty(), "{script}: {read:?}");
        }
    }

    #[test]
    fn what_would_be_misread_is_refused_with_what_to_do() {
        let print = |node| error(&["fence_vmchannel", "--print-pcs", "node1", node]);

        assert!(error(&["fence_vmchannel", "--print-crm"]).contains("--print-crm node1:web1"));
        assert!(print("node1:x").contains("named twice"));
        assert!(print("a b").contains("is no node"));
        assert!(print("-n").contains("is no node"));
        assert!(print("node2:a;b").contains("by its UUID"));
        assert!(print("node2:$(reboot)").contains("by its UUID"));
        assert!(print("node2:").contains("cannot be the name"));
    }

    #[test]
    fn other_first_options_are_not_its_own() {
        assert!(printed(&["fence_vmchannel", "-o", "list"]).is_none());
        assert!(printed(&["fence_vmchannel"]).is_none());
    }
}
