//! The engine: models, sessions, and the scheduler and thread team that run them. This file names
//! what the outside may use; `engine/` holds one part a file.

pub const Model = @import("engine/model.zig").Model;
pub const Info = @import("engine/model.zig").Info;
pub const Progress = @import("engine/model.zig").Progress;
pub const ModelOptions = @import("engine/model.zig").Options;
pub const PackedState = @import("engine/packed_file.zig").State;
pub const LoadError = @import("engine/model.zig").Error;

pub const Session = @import("engine/session.zig").Session;
pub const SessionOptions = @import("engine/session.zig").Options;
pub const SessionError = @import("engine/session.zig").Error;
pub const Request = @import("engine/session.zig").Request;
pub const Stats = @import("engine/session.zig").Stats;
pub const TakeResult = @import("engine/session.zig").TakeResult;
pub const record = @import("engine/record.zig");

pub const limited_pool = @import("engine/limited_pool.zig");
pub const kv_view = @import("engine/kv_view.zig");
pub const layouts = @import("engine/layouts.zig");
pub const kv_attention = @import("engine/kv_attention.zig");
pub const meter = @import("engine/meter.zig");

/// Saved sessions.
pub const Save = @import("engine/snapshot_save.zig").Save;
pub const SaveError = @import("engine/snapshot_save.zig").Error;
pub const Restored = @import("engine/snapshot_restore.zig").Restored;
pub const RestoreError = @import("engine/snapshot_restore.zig").Error;
pub const RestoreOptions = @import("engine/snapshot_restore.zig").Options;
pub const restore = @import("engine/snapshot_restore.zig").restore;

pub const draft = @import("engine/draft.zig");
pub const identity = @import("engine/identity.zig");
pub const recorder = @import("engine/recorder.zig");
pub const tape = @import("engine/tape.zig");
pub const tape_index = @import("engine/tape_index.zig");
pub const texts = @import("engine/sampling.zig").texts;
pub const tokenTree = @import("engine/sampling.zig").tree;
pub const unembed = @import("engine/unembed.zig");

pub const limits = @import("engine/limits.zig");
pub const wake = @import("engine/wake.zig");

test {
    _ = @import("engine/angles.zig");
    _ = @import("engine/banned.zig");
    _ = @import("engine/before_rope_test.zig");
    _ = @import("engine/cores.zig");
    _ = @import("engine/deal.zig");
    _ = @import("engine/draft.zig");
    _ = @import("engine/draft_test.zig");
    _ = @import("engine/failure_test.zig");
    _ = @import("engine/golden_test.zig");
    _ = @import("engine/hostile_model_test.zig");
    _ = @import("engine/kv_view_test.zig");
    _ = @import("engine/limited_pool_test.zig");
    _ = @import("engine/evictor.zig");
    _ = @import("engine/evictor_test.zig");
    _ = @import("engine/kv_attention_test.zig");
    _ = @import("engine/head_formats_test.zig");
    _ = @import("engine/hooks_test.zig");
    _ = @import("engine/loader.zig");
    _ = @import("engine/meter_test.zig");
    _ = @import("engine/packed_file.zig");
    _ = @import("engine/packed_file_test.zig");
    _ = @import("engine/packing.zig");
    _ = recorder;
    _ = @import("engine/recorder_test.zig");
    _ = @import("engine/ring.zig");
    _ = @import("engine/run.zig");
    _ = @import("engine/scheduler.zig");
    _ = @import("engine/session_test.zig");
    _ = @import("engine/window_test.zig");
    _ = @import("engine/window_evict_test.zig");
    _ = @import("engine/fork_test.zig");
    _ = identity;
    _ = @import("engine/snapshot.zig");
    _ = @import("engine/snapshot_test.zig");
    _ = @import("engine/snapshot_damage_test.zig");
    _ = tape;
    _ = tape_index;
    _ = @import("engine/team.zig");
    _ = @import("engine/weight.zig");
    _ = Model;
    _ = Session;
    _ = record;
    _ = wake;
    _ = limits;
    _ = meter;
}
