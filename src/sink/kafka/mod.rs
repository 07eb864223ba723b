//! kafka sink
