//! Trouble is told once: again only when it is another one, or has been over in between.

use std::io;

/// What was told of one kind of trouble.
#[derive(Debug, Default)]
pub(super) struct Told(Option<i32>);

impl Told {
    /// Whether this is news.
    pub(super) fn news(&mut self, error: &io::Error) -> bool {
        let number = sys::errno::number(error);
        self.0.replace(number) != Some(number)
    }

    /// The trouble is over.
    pub(super) fn over(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_trouble_is_news_once_until_it_is_over() {
        let (missing, full) = (io::Error::from_raw_os_error(2), io::Error::from_raw_os_error(28));
        let mut told = Told::default();
        let news = [&missing, &missing, &full, &full, &missing].map(|error| told.news(error));
        assert_eq!(news, [true, false, true, false, true]);
        told.over();
        assert!(told.news(&missing));
    }
}
