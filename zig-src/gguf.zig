//! GGUF, the container that models come in: a reader that believes nothing, and a writer.
//! Versions 2 and 3, little and big endian, single and split files; the layout is that of the
//! GGUF specification in the ggml repository.
//!
//! A file is mapped, its header is checked against its size and for overflow before any of it
//! is used, and everything handed out is a view: strings and numbers of the metadata in either
//! byte order, tensors in this machine's (a foreign file's tensor data is turned once, into
//! memory). Every refusal is a named error with a sentence in the diagnostic.

const std = @import("std");
const cursor = @import("gguf/cursor.zig");
const tensor_table = @import("gguf/tensor.zig");
const value = @import("gguf/value.zig");

pub const Error = cursor.Error;
pub const File = @import("gguf/file.zig").File;
pub const Tensor = tensor_table.Tensor;
pub const Type = value.Type;
pub const Value = value.Value;
pub const Entry = value.Entry;
pub const Array = value.Array;
pub const Mapping = @import("gguf/mapping.zig").Mapping;
pub const shown = @import("gguf/mapping.zig").shown;
pub const Writer = @import("gguf/writer.zig").Writer;

test {
    _ = cursor;
    _ = value;
    _ = tensor_table;
    _ = @import("gguf/file.zig");
    _ = @import("gguf/mapping.zig");
    _ = @import("gguf/names.zig");
    _ = @import("gguf/reader.zig");
    _ = @import("gguf/split.zig");
    _ = @import("gguf/writer.zig");
    _ = @import("gguf/round_trip_test.zig");
    _ = @import("gguf/hostile_test.zig");
    _ = @import("gguf/disk_test.zig");
    _ = @import("gguf/fuzz.zig");
}
