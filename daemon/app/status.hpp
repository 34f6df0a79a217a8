// SPDX-License-Identifier: Apache-2.0
// A snapshot as JSON, for fallbackctl, the status page and your own programs.
#pragma once

#include "app/snapshot.hpp"
#include "coverage/verdict.hpp"

#include <optional>
#include <string>

namespace fallbackd::app {

/// {"version", "node", "now", "started", "containerd": {"connected", "socket", "problem"}, "spawner":
/// {"running"},
///  "config": {"file", "current", "problems"}, "coverage": {"workloads", "covered", "containers"?: {VERDICT:
///  NUMBER}}, "waiting":
///  [{"namespace", "pod", "container", "workload", "image", "binary", "state", "cause"?, "text"?,
///  "trouble"?, "verdictMs"?, "heldUp"?: {"by": "pull", "image", "registry", "namespace", "pod", "container",
///  "since"} or {"by": "back_off", "until"}}], "kubernetes": {"sources": [{"name", "state", "since",
///  "lastSuccess"?, "error"?}], "pods", "leftOut", "rememberedSince"?, "events"?: {"state", "since",
///  "waiting", "error"?, "forbiddenIn"?, "created"?, "counted"?, ...}},
///  "registries": [{"host", "state", "since", "cause"?, "text"?}],
///  "unstick": {"state", "ended", "gone", "proxy", "not_permitted", "not_supported", "failed"},
///  "workloads": [{"name", "image", "binary", "definedAt", "covered"}], "binaries": [{"name", "version",
///  "serves", "resident", "inGrace", "bytes", "digest", "expires"?, "reason"?, "error"?}], "recoveries":
///  [{"id", "namespace", "pod", "container", "workload", "binary", "cause", "state", "podIp", "address",
///  "pid", "begun", "sinceWaitingMs": {...}, "verdictMs"?, "error"?}]};
/// durations in milliseconds, times in RFC 3339. verdictMs: from the probe pull to its verdict. "now" is
/// rounded to 10 s, so that two texts differ only if something happened. `counts`: containers by verdict, if
/// they were judged.
std::string statusJson(const Snapshot& snapshot, const std::optional<coverage::Counts>& counts = {});

/// Counts and sizes, in the style of expvar.
std::string varsJson(const Snapshot& snapshot);

/// Whether the node's pods can be helped, one line per part: "ok containerd", "not ready spawner: WHY",
/// "warning coverage: WHY". Warnings do not affect readiness: a new daemon would have them, too.
struct Readiness {
  bool ready = true;
  std::string text;
};
Readiness readiness(const Snapshot& snapshot);

}  // namespace fallbackd::app
