// SPDX-License-Identifier: Apache-2.0
#include "spawner/report_order.hpp"

#include <cstring>
#include <iterator>

namespace fallbackd::launcher {

bool ReportOrder::accept(pid_t sender, ChildReport::Kind kind) {
  using Kind = ChildReport::Kind;
  if (sender <= 0 || state_ == State::over) return false;
  if (state_ == State::unborn) {
    if (sender == spare_) {
      state_ = State::over;
      return kind == Kind::failed;
    }
    if (kind != Kind::born) return false;
    child_ = sender;
    state_ = State::born;
    return true;
  }
  if (sender != child_ || kind == Kind::born) return false;
  if (kind == Kind::executing) {
    const bool due = state_ == State::born;
    state_ = State::executing;
    return due;
  }
  if (kind == Kind::unhealthy && state_ != State::born) return false;
  state_ = State::over;
  return true;
}

std::optional<ChildReport> decodeChildReport(std::span<const char> bytes) {
  ChildReport report;
  if (bytes.size() != sizeof report) return std::nullopt;
  // As numbers first: an enumerator or bool with an invalid value must never exist.
  const auto byteAt = [&](std::size_t offset) { return static_cast<unsigned char>(bytes[offset]); };
  const bool exists =
      byteAt(offsetof(ChildReport, kind)) <= static_cast<unsigned>(ChildReport::Kind::unhealthy) &&
      byteAt(offsetof(ChildReport, step)) < std::size(kSteps) &&
      byteAt(offsetof(ChildReport, health)) <= static_cast<unsigned>(ChildReport::Health::timed_out) &&
      byteAt(offsetof(ChildReport, entersPids)) <= 1;
  if (!exists) return std::nullopt;
  std::memcpy(&report, bytes.data(), sizeof report);
  return report;
}

}  // namespace fallbackd::launcher
