//! Which activations the engine shows to the holder of a session.

const std = @import("std");
const probe = @import("../probe.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const session_module = @import("session.zig");
const Error = session_module.Error;
const Session = session_module.Session;

/// Makes the engine wait, during the following requests, at the points that `wanted` [layers] has the
/// bits of, until another thread has let it go on; none: no longer.
pub fn openGate(session: *Session, wanted: []const u32, diag: *Diagnostic) Error!void {
    try session.expectIdle(diag);
    const layers = session.model.hyper.layers;
    if (wanted.len != 0 and wanted.len != layers) {
        diag.set("expected hook points of {d} layers, found {d}", .{ layers, wanted.len });
        return error.BadOption;
    }
    var known: u32 = 0;
    for (std.enums.values(probe.Point)) |point| known |= point.bit();
    for (wanted, 0..) |bits, layer| if (bits & ~known != 0 or (layer != 0 and bits & probe.Point.embed.bit() != 0)) {
        diag.set("expected bits of hook points of layer {d}, found {x}", .{ layer, bits });
        return error.BadOption;
    };
    errdefer if (diag.text().len == 0) diag.set("expected memory for hooks, found that the system has not that much", .{});
    const copy = try session.gpa.dupe(u32, wanted);
    session.gpa.free(session.gate.wanted);
    session.gate.wanted = copy;
    session.observer = if (wanted.len == 0) null else session.gate.observer();
}
