//! One matrix of a model: where its GGUF rows are, and the packed form that the kernels read.

const gguf = @import("../gguf.zig");
const kernel = @import("../kernel.zig");
const quant = @import("../quant.zig");

/// Rows that share a panel; the last panel of a matrix may have fewer.
pub const panel_rows = kernel.panel_rows;

/// Shape [rows (outputs), cols (inputs)].
pub const Weight = struct {
    format: quant.Format,
    rows: u32,
    cols: u32,
    /// Row-major blocks, as in the file; valid while the file is open.
    tensor: *const gguf.Tensor,
    /// Panels of `panel_rows` interleaved rows; set when the model has been packed.
    panels: [*]const u8 = undefined,

    pub fn panelCount(weight: *const Weight) u32 {
        return (weight.rows + panel_rows - 1) / panel_rows;
    }

    /// What activations must hold for it.
    pub fn kind(weight: *const Weight) u32 {
        return if (quant.info(weight.format).block_len > 1) kernel.kind_integer else kernel.kind_float;
    }

    /// Bytes of one row in the file.
    pub fn rowBytes(weight: *const Weight) usize {
        return @intCast(quant.rowBytes(weight.format, weight.cols) catch unreachable);
    }

    pub fn row(weight: *const Weight, index: usize) []const u8 {
        const bytes = weight.rowBytes();
        return weight.tensor.bytes[index * bytes ..][0..bytes];
    }
};
