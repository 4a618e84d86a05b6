//! HTTP servers as a library: the shell of the mock provider.
