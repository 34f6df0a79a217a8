// SPDX-License-Identifier: Apache-2.0
// Reads ConfigMaps and Secrets by name, if an operator has allowed it for their namespace. Their values stay
// in memory. Thread: the calling coroutine's.
#pragma once

#include "kube/access.hpp"
#include "kube/facts.hpp"
#include "kube/named_objects.hpp"

#include <chrono>
#include <string>
#include <vector>

#include <boost/asio/awaitable.hpp>

namespace fallbackd::kube {

struct ObjectAnswers {
  ObjectContents configMaps;
  ObjectContents secrets;
  std::vector<std::string> troubles;  // what could not be read, and why
};

class ObjectReader {
 public:
  static constexpr std::chrono::seconds kLimit{5};  // for all of them
  static constexpr std::size_t kMaxObjects = 64;

  explicit ObjectReader(AccessSource access) : access_(std::move(access)) {}

  /// What cannot be read in time is missing from the answers. An object that does not exist is listed without
  /// content.
  boost::asio::awaitable<ObjectAnswers> read(std::string namespaceName, NamedObjects names) const;

 private:
  AccessSource access_;
};

}  // namespace fallbackd::kube
