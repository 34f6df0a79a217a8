// SPDX-License-Identifier: Apache-2.0
#include "workers/task.hpp"

#include <array>
#include <cstring>

namespace fallbackd::workers {

namespace {

constexpr std::size_t kStages = static_cast<std::size_t>(Stage::telemetry) + 1;
constexpr std::size_t kReasons = static_cast<std::size_t>(Reason::volume_missing) + 1;
constexpr char kGood = 0;
constexpr char kBad = 1;
constexpr std::size_t kErrorHead = 1 + 1 + 1 + sizeof(std::int32_t);

}  // namespace

std::string_view toString(Work work) {
  constexpr std::array<std::string_view, kWorks> kNames{"read_file", "prepare_volumes", "open_log",
                                                        "copy_log",  "list_logs",       "run_program",
                                                        "drop_log",  "open_fifos"};
  return kNames.at(static_cast<std::size_t>(work));
}

Touches touchedBy(Work work) {
  return work == Work::drop_log || work == Work::open_fifos ? Touches::pipes : Touches::files;
}

std::string encodeQuestion(Work work, std::string_view bytes) {
  std::string message(1, static_cast<char>(work));
  return message.append(bytes);
}

Result<Question> decodeQuestion(std::string_view message) {
  if (message.empty() || static_cast<unsigned char>(message.front()) >= kWorks) {
    return fail(Stage::run, Reason::protocol, "a malformed request to a worker");
  }
  return Question{static_cast<Work>(message.front()), message.substr(1)};
}

std::string encodeAnswer(const Result<std::string>& answer) {
  if (answer) return std::string(1, kGood) + *answer;
  const auto& error = answer.error();
  std::string message{kBad, static_cast<char>(error.stage), static_cast<char>(error.reason)};
  const std::int32_t number = error.errnum;
  std::array<char, sizeof number> raw{};
  std::memcpy(raw.data(), &number, sizeof number);
  return message.append(raw.data(), raw.size()).append(error.context);
}

Result<std::string> decodeAnswer(std::string_view message) {
  if (!message.empty() && message.front() == kGood) return std::string(message.substr(1));
  if (message.size() < kErrorHead || message.front() != kBad) {
    return fail(Stage::run, Reason::protocol, "a malformed response of a worker");
  }
  const auto stage = static_cast<unsigned char>(message[1]);
  const auto reason = static_cast<unsigned char>(message[2]);
  if (stage >= kStages || reason >= kReasons) {
    return fail(Stage::run, Reason::protocol, "a malformed error of a worker");
  }
  std::int32_t number = 0;
  std::memcpy(&number, message.data() + 3, sizeof number);
  return fail(static_cast<Stage>(stage), static_cast<Reason>(reason), std::string(message.substr(kErrorHead)),
              number);
}

}  // namespace fallbackd::workers
