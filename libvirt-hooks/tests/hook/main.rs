//! The hook as libvirt sees it: a process that always ends well, in time and without a word.

#[cfg(test)]
mod conditions;
#[cfg(test)]
mod program;
#[cfg(test)]
mod timing;
