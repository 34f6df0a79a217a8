// SPDX-License-Identifier: Apache-2.0
// Work on files that a pod controls, as requests to a worker and its responses: the volumes of a launch and
// the log of a fallback. Used by both sides; independent of Asio and the daemon.
#pragma once

#include "launcher/logs/log_file.hpp"
#include "launcher/volumes.hpp"
#include "workers/serve.hpp"
#include "workers/task.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fallbackd::launcher {

/// Everything that a launch needs from its pod's volumes, in one request.
struct VolumesQuestion {
  VolumeSource source;
  std::vector<config::Volume> volumes;
  std::map<std::string, std::string> envFiles;  // variable -> path inside one of the volumes
};
struct PodVolumes {
  PreparedMounts mounts;
  std::map<std::string, std::string> variables;  // values from the files
};

struct OpenLogQuestion {
  std::string path;
  config::LogLimits limits;
};

/// How often the container was started, according to its logs.
struct ListLogsQuestion {
  std::string logDirectory;
  std::string container;
};

enum class LineEnds : std::uint8_t {
  whole_lines,  // an incomplete line stays, unless it has the maximum length
  parts_too,
};
/// Copies one piece of one stream from its FIFO, passed as a descriptor, into the log file.
struct CopyLogQuestion {
  std::string path;
  config::LogLimits limits;
  std::string stream;  // "stdout" or "stderr"
  std::uint32_t maxBytes = 0;
  std::uint32_t maxLines = 0;
  LineEnds ends = LineEnds::whole_lines;
};
struct CopiedLog {
  enum class Left : std::uint8_t {
    unknown,  // perhaps there is more
    part,     // the beginning of a line
    nothing,  // and there is no writer: the stream has ended
  };
  std::uint32_t bytes = 0;
  std::uint32_t lines = 0;
  Left left = Left::unknown;
};

/// Discards one piece of one stream from its FIFO, passed as a descriptor. A program that has the FIFO open
/// can lock it, by splice(2) from a silent socket: until that ends, every read, open and last close hangs,
/// despite O_NONBLOCK.
struct DropLogQuestion {
  std::uint32_t maxBytes = 0;
};

/// Opens the two FIFOs in a recovery's folder, passed as a descriptor, for reading: stdout, then stderr.
struct OpenFifosQuestion {};

/// Puts request and descriptors into the task.
void ask(workers::Task& task, const VolumesQuestion& question);
void ask(workers::Task& task, const OpenLogQuestion& question);
void ask(workers::Task& task, const ListLogsQuestion& question);
/// The task takes ownership of `fifo`.
void ask(workers::Task& task, const CopyLogQuestion& question, sys::UniqueFd fifo);
void ask(workers::Task& task, const DropLogQuestion& question, sys::UniqueFd fifo);
/// The task takes ownership of `folder`.
void ask(workers::Task& task, const OpenFifosQuestion& question, sys::UniqueFd folder);

/// Reason protocol for a malformed response.
Result<PodVolumes> readVolumes(workers::Outcome outcome);
Result<CopiedLog> readCopiedLog(const workers::Outcome& outcome);
struct OpenedFifos {
  sys::UniqueFd out;
  sys::UniqueFd err;
};
Result<OpenedFifos> readOpenedFifos(workers::Outcome outcome);
Result<unsigned> readLatestRestart(const workers::Outcome& outcome);

/// The worker's side of all of them, and of workers::Work::read_file, whose request is a path.
Result<workers::Outcome> performOnPodFiles(const workers::Question& question, std::vector<sys::UniqueFd> fds);

}  // namespace fallbackd::launcher
