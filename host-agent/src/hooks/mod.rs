//! Hook notes: the spool, and the installed hook.
