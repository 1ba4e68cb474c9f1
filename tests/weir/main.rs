//! The whole host against its public surface.
