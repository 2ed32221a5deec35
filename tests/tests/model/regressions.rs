//! What the model test found, each under the name of what it was.
