// SPDX-License-Identifier: Apache-2.0
#include "watcher/waiting.hpp"

namespace fallbackd::watcher {

std::string_view toString(Waiting::State state) {
  switch (state) {
    case Waiting::State::asking:
      return "asking";
    case Waiting::State::failed:
      return "failed";
    case Waiting::State::undecided:
      return "undecided";
    case Waiting::State::image_present:
      return "image present";
    case Waiting::State::not_started:
      return "not started";
    case Waiting::State::after_init_containers:
      return "after init containers";
    case Waiting::State::never_pulled:
      return "never pulled";
    case Waiting::State::not_specified:
      return "not specified";
  }
  return "asking";
}

}  // namespace fallbackd::watcher
