//! The program `fence-vmchanneld run --simulate` when something that it needs is lost: its log, its files.

#[cfg(test)]
mod files;
#[cfg(test)]
mod log;
#[cfg(test)]
mod program;
