//! What only another kernel can show.

pub mod vm;
