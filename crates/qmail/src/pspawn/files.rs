//! The files that decide who gets in and where: what was found out holds while none of them is
//! replaced.

use std::path::PathBuf;

use store::home::Home;
use store::passwords;
use store::users::Stamp;

/// Below the home; the first says which secrets fit, the second takes the judging away from us.
const BELOW: [&str; 8] = [
    passwords::COMPILED,
    "control/checkpassword",
    "users/cdb",
    "control/me",
    "control/locals",
    "control/virtualdomains",
    "control/percenthack",
    "control/envnoathost",
];

/// Where the files are.
#[derive(Debug)]
pub(super) struct Files(Vec<PathBuf>);

/// What they were at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State(Vec<Option<Stamp>>);

impl Files {
    pub(super) fn of(home: &Home) -> Self {
        let ours = BELOW.iter().map(|below| home.path(below));
        Self(ours.chain([PathBuf::from("/etc/passwd")]).collect())
    }

    /// What they are now; `None` if nothing found out now may be kept: there is no list of ours, or
    /// a foreign program judges.
    pub(super) fn state(&self) -> Option<State> {
        let stamp = |path: &PathBuf| Some(Stamp::of(&std::fs::metadata(path).ok()?));
        let stamps: Vec<_> = self.0.iter().map(stamp).collect();
        matches!(stamps[..], [Some(_), None, ..]).then_some(State(stamps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use yard::Yard;

    #[test]
    fn a_file_that_is_replaced_changes_the_state_and_a_foreign_program_ends_it() {
        let dir = Yard::new("pspawn-files");
        for below in ["users", "control"] {
            fs::create_dir_all(dir.join(below)).unwrap();
        }
        let files = Files::of(&Home::at(&dir).unwrap());
        assert_eq!(files.state(), None);
        fs::write(dir.join(passwords::COMPILED), "x").unwrap();
        let before = files.state().unwrap();
        assert_eq!(files.state(), Some(before.clone()));
        fs::write(dir.join("control/locals"), "here.test\n").unwrap();
        assert_ne!(files.state(), Some(before));
        fs::write(dir.join("control/checkpassword"), "").unwrap();
        assert_eq!(files.state(), None);
    }
}
