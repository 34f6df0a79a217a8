// SPDX-License-Identifier: Apache-2.0
#include "watcher/causes/operation.hpp"

namespace fallbackd::watcher {

std::string_view toString(Operation operation) {
  switch (operation) {
    case Operation::none:
      return "pull";
    case Operation::image_reference:
      return "image reference";
    case Operation::configuration:
      return "registry configuration";
    case Operation::resolve:
      return "resolve";
    case Operation::token:
      return "token";
    case Operation::request:
      return "request";
    case Operation::copy:
      return "copy";
    case Operation::unpack:
      return "unpack";
    case Operation::commit:
      return "commit";
    case Operation::extract:
      return "extract";
    case Operation::snapshot:
      return "snapshot";
    case Operation::content_store:
      return "content store";
    case Operation::plugin:
      return "plugin of containerd";
    case Operation::verifier:
      return "image verifier";
    case Operation::lock:
      break;
  }
  return "lock";
}

Place placeOf(Operation operation) {
  switch (operation) {
    case Operation::none:
    case Operation::unpack:
      return Place::unknown;
    case Operation::resolve:
    case Operation::token:
    case Operation::request:
    case Operation::copy:
      return Place::registry;
    case Operation::image_reference:
    case Operation::configuration:
    case Operation::commit:
    case Operation::extract:
    case Operation::snapshot:
    case Operation::content_store:
    case Operation::plugin:
    case Operation::verifier:
    case Operation::lock:
      break;
  }
  return Place::node;
}

}  // namespace fallbackd::watcher
