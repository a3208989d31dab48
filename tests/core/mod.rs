mod harness;
mod layer;
