// SPDX-License-Identifier: Apache-2.0
#include "spawner/report_order.hpp"

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
  const bool ofCheck = kind == Kind::unhealthy || kind == Kind::healthy;
  if (ofCheck && state_ != State::born) return false;
  state_ = State::over;
  return true;
}

}  // namespace fallbackd::launcher
