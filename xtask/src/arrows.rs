//! The arrows between the crates, checked against what cargo itself says of the workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::tally::{Ending, findings};

/// One crate's law.
struct Law {
    crate_name: &'static str,
    /// Every crate it may name in `[dependencies]`, ours and others'.
    may_use: &'static [&'static str],
    /// Crates that must not be anywhere below it.
    never: &'static [&'static str],
    /// Attributes its root must carry.
    root: &'static [&'static str],
}

const PURE: &[&str] = &["#![no_std]", "#![forbid(unsafe_code)]"];
const SAFE: &[&str] = &["#![forbid(unsafe_code)]"];
const NO_NET: &[&str] = &["rustls", "tokio", "hickory-resolver", "proto", "dns", "mail-auth"];

/// The table. A new line in any `may_use` is a change of architecture and has a decision page.
const LAWS: &[Law] = &[
    Law { crate_name: "base", may_use: &[], never: &["std"], root: PURE },
    Law {
        crate_name: "proto",
        may_use: &["base", "hmac", "md-5"],
        never: &["letter", "sys"],
        root: PURE,
    },
    Law { crate_name: "letter", may_use: &["base"], never: &["proto", "sys"], root: PURE },
    Law {
        crate_name: "sys",
        may_use: &["base", "landlock", "nix", "rustix", "seccompiler"],
        never: &["store"],
        root: &[],
    },
    Law {
        crate_name: "store",
        may_use: &["argon2", "base", "bcrypt", "hmac", "sha-crypt", "sha2", "sys", "yescrypt"],
        never: NO_NET,
        root: SAFE,
    },
    Law {
        crate_name: "dns",
        may_use: &["hickory-resolver", "tokio"],
        never: &["store"],
        root: SAFE,
    },
    Law {
        crate_name: "daemontools",
        may_use: &["base", "sys"],
        never: &["store", "letter", "proto", "tokio"],
        root: SAFE,
    },
    Law {
        crate_name: "qmail",
        may_use: &["base", "letter", "store", "sys"],
        never: NO_NET,
        root: SAFE,
    },
    Law {
        crate_name: "qmail-net",
        may_use: &["base", "dns", "letter", "proto", "store", "sys"],
        never: &["mail-auth"],
        root: SAFE,
    },
    Law {
        crate_name: "qmail-authres",
        may_use: &["dns", "mail-auth", "sys", "tokio"],
        never: &["store", "proto"],
        root: SAFE,
    },
    Law {
        crate_name: "qmail-admin",
        may_use: &["base", "clap", "store", "sys"],
        never: &[],
        root: SAFE,
    },
];

/// The parts of `cargo metadata` that matter here.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<NodeDep>,
}

#[derive(Deserialize)]
struct NodeDep {
    pkg: String,
    dep_kinds: Vec<DepKind>,
}

#[derive(Deserialize)]
struct DepKind {
    kind: Option<String>,
}

/// Checks every crate under `crates/` against [`LAWS`].
pub(crate) fn check() -> Ending {
    let metadata = match read() {
        Ok(metadata) => metadata,
        Err(why) => return Ending::Failed(why),
    };
    let mut found = Vec::new();
    for law in LAWS {
        match metadata.packages.iter().find(|p| p.name == law.crate_name) {
            Some(package) => judge(law, package, &metadata, &mut found),
            None => found.push(format!("crates/{} is missing", law.crate_name)),
        }
    }
    for package in metadata.packages.iter().filter(|p| p.manifest_path.contains("/crates/")) {
        let known = LAWS.iter().any(|law| law.crate_name == package.name);
        if !known && Path::new(&package.manifest_path).starts_with(crate::root()) {
            found.push(format!("{} has no law in xtask/src/arrows.rs", package.name));
        }
    }
    findings(&found)
}

fn read() -> Result<Metadata, String> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(crate::root())
        .output()
        .map_err(|e| e.to_string())?;
    if !out.status.success() {
        return Err(String::from_utf8_lossy(&out.stderr).into_owned());
    }
    serde_json::from_slice(&out.stdout).map_err(|e| e.to_string())
}

fn judge(law: &Law, package: &Package, metadata: &Metadata, found: &mut Vec<String>) {
    let name = law.crate_name;
    for dep in package.dependencies.iter().filter(|d| d.kind.is_none()) {
        if !law.may_use.contains(&dep.name.as_str()) {
            found.push(format!("{name} may not use {}", dep.name));
        }
    }
    let below = below(&package.id, metadata);
    for never in law.never.iter().filter(|never| below.contains(**never)) {
        found.push(format!("{name} may never stand on {never}, at any depth"));
    }
    let dir = Path::new(&package.manifest_path).with_file_name("src");
    let root = ["lib.rs", "main.rs"]
        .iter()
        .find_map(|file| std::fs::read_to_string(dir.join(file)).ok())
        .unwrap_or_default();
    for attribute in law.root.iter().filter(|a| !root.contains(**a)) {
        found.push(format!("{name}'s root lacks {attribute}"));
    }
}

/// The names of everything below a package, build and test dependencies left out.
fn below<'m>(id: &'m str, metadata: &'m Metadata) -> BTreeSet<&'m str> {
    let nodes: BTreeMap<&str, &Node> =
        metadata.resolve.nodes.iter().map(|n| (n.id.as_str(), n)).collect();
    let names: BTreeMap<&str, &str> =
        metadata.packages.iter().map(|p| (p.id.as_str(), p.name.as_str())).collect();
    let mut seen = BTreeSet::new();
    let mut waiting = vec![id];
    while let Some(at) = waiting.pop() {
        let deps = nodes.get(at).into_iter().flat_map(|n| &n.deps);
        for dep in deps.filter(|d| d.dep_kinds.iter().any(|k| k.kind.is_none())) {
            if seen.insert(dep.pkg.as_str()) {
                waiting.push(&dep.pkg);
            }
        }
    }
    seen.into_iter().filter_map(|id| names.get(id).copied()).collect()
}
