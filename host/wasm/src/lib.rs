//! The sandbox of Weir.
