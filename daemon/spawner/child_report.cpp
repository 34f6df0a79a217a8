// SPDX-License-Identifier: Apache-2.0
#include "spawner/child_report.hpp"

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

namespace fallbackd::launcher {

std::optional<ChildReport> decodeChildReport(std::span<const char> bytes) {
  ChildReport report;
  if (bytes.size() != sizeof report) return std::nullopt;
  // As numbers first: an enumerator or bool with an invalid value must never exist.
  const auto byteAt = [&](std::size_t offset) { return static_cast<unsigned char>(bytes[offset]); };
  const bool exists =
      byteAt(offsetof(ChildReport, kind)) <= static_cast<unsigned>(ChildReport::Kind::healthy) &&
      byteAt(offsetof(ChildReport, step)) < std::size(kSteps) &&
      byteAt(offsetof(ChildReport, health)) <= static_cast<unsigned>(ChildReport::Health::timed_out) &&
      byteAt(offsetof(ChildReport, entersPids)) <= 1;
  if (!exists) return std::nullopt;
  std::memcpy(&report, bytes.data(), sizeof report);
  return report;
}

Error failureOf(const ChildReport& report) {
  const auto& step = kSteps[static_cast<std::size_t>(report.step)];
  if (report.kind == ChildReport::Kind::unhealthy) {
    switch (report.health) {
      case ChildReport::Health::timed_out:
        return {Stage::health_check, Reason::timeout, 0, "not over in time; killed"};
      case ChildReport::Health::signaled:
        return {Stage::health_check, Reason::unhealthy, 0, "ended by signal " + std::to_string(report.value)};
      default:
        return {Stage::health_check, Reason::unhealthy, 0, "exit code " + std::to_string(report.value)};
    }
  }
  std::string text(step.text);
  const std::string_view object(report.object, ::strnlen(report.object, sizeof report.object));
  if (!object.empty()) text.append(" ").append(object);
  const bool joining = report.step == Step::join_sandbox || report.step == Step::sandbox_proc;
  const bool gone = joining && report.errnum == ESRCH;
  const bool unsafe = (report.step == Step::volume_target || report.step == Step::sandbox_proc) &&
                      (report.errnum == ELOOP || report.errnum == EXDEV);
  const Reason reason = gone ? Reason::sandbox_gone : unsafe ? Reason::unsafe_path : Reason::system;
  return {step.stage, reason, report.errnum, std::move(text)};
}

}  // namespace fallbackd::launcher
