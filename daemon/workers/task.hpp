// SPDX-License-Identifier: Apache-2.0
// What a worker is asked to do, and what it responds. A worker is a process that may hang for ever: it
// touches files that a pod controls, and the server of such a file system need not respond; or it waits for
// a program that is not ours. Used by both sides.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::workers {

/// Also the label `work` of the metrics.
enum class Work : std::uint8_t {
  read_file,
  prepare_volumes,
  open_log,
  copy_log,
  list_logs,
  run_program,
  drop_log,
  open_fifos
};
inline constexpr std::size_t kWorks = 8;
std::string_view toString(Work work);

/// What a worker may hang on. Workers that hang on a pod's files do not mean that its pipes hang; those must
/// still be read.
enum class Touches : std::uint8_t { files, pipes };
Touches touchedBy(Work work);

/// Who controls the files. Limits count by these two.
struct Owner {
  std::string namespaceName;
  std::string pod;  // anything that identifies one pod of the node
};

/// A launch, or the adoption of a fallback, goes before everything that can wait.
enum class Urgency : std::uint8_t { launch, background };

struct Task {
  Work work = Work::read_file;
  Urgency urgency = Urgency::background;
  Stage stage = Stage::run;  // of the error if the worker does not respond
  Owner owner;
  std::string what;                  // for errors: "the volumes of pod shop/web-0"
  std::string bytes;                 // the request; its form depends on the work
  std::vector<sys::UniqueFd> fds;    // sent to the worker; they stay open here
  std::chrono::nanoseconds limit{};  // from now on, including the time in the queue
};

struct Outcome {
  std::string bytes;
  std::vector<sys::UniqueFd> fds;
};

/// One message to the worker: the work and its request.
std::string encodeQuestion(Work work, std::string_view bytes);
struct Question {
  Work work = Work::read_file;
  std::string_view bytes;  // of the message
};
Result<Question> decodeQuestion(std::string_view message);

/// One message back: the outcome's bytes, or an error. Descriptors are sent with it.
std::string encodeAnswer(const Result<std::string>& answer);
/// Reason protocol for anything else.
Result<std::string> decodeAnswer(std::string_view message);

}  // namespace fallbackd::workers
