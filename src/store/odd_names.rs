//! Names that can be mistaken for others, as `gatelet verify` lists them.

use crate::domain::user::Usernames;

/// The most names listed; all are counted.
const LISTED: usize = 20;

/// Names of users that applications may mistake for others.
#[derive(Clone, Debug, Default)]
pub struct OddNames {
    /// Names that share a fold.
    pub alike: Listed,
    /// Names that the default rule refuses for new users.
    pub outdated: Listed,
    previous: Option<Previous>,
}

/// A number of names, and the first of them.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// How many there are.
    pub count: u64,
    /// Up to twenty of them.
    pub first: Vec<String>,
}

impl Listed {
    fn note(&mut self, name: &str) {
        self.count += 1;
        if self.first.len() < LISTED {
            self.first.push(name.to_owned());
        }
    }
}

#[derive(Clone, Debug)]
struct Previous {
    fold: String,
    name: String,
    is_noted: bool,
}

impl OddNames {
    /// Takes the next user's name, in the order of the index: names that share a fold are neighbours.
    pub(super) fn look_at(&mut self, fold: &str, name: &str) {
        if Usernames::Folded.new_name(name).is_err() {
            self.outdated.note(name);
        }
        let is_alike = match &self.previous {
            Some(previous) if previous.fold == fold => {
                if !previous.is_noted {
                    self.alike.note(&previous.name);
                }
                self.alike.note(name);
                true
            }
            _ => false,
        };
        self.previous = Some(Previous { fold: fold.to_owned(), name: name.to_owned(), is_noted: is_alike });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_fold_are_listed_and_those_that_no_new_user_can_have() {
        let mut odd = OddNames::default();
        let names = ["Admin", "admin", "ADMIN", "anna", "bert ", "bert", "cora", "\u{430}nna"];
        for name in names {
            odd.look_at(&name.parse::<crate::domain::user::Username>().unwrap().fold(), name);
        }
        assert_eq!(odd.alike.first, ["Admin", "admin", "ADMIN", "bert ", "bert"]);
        assert_eq!(odd.outdated.first, ["bert ", "\u{430}nna"]);
        for n in 0..100 {
            odd.look_at("x", &format!("x{n} "));
        }
        assert_eq!((odd.alike.count, odd.outdated.count), (105, 102));
        assert_eq!((odd.alike.first.len(), odd.outdated.first.len()), (LISTED, LISTED));
    }
}
