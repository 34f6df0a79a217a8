// SPDX-License-Identifier: Apache-2.0
// Reads ConfigMaps and Secrets for one pod after another, so that a namespace whose pods change all the time
// neither floods the API server nor delays the others: each namespace has a pace and one read at a time, and
// namespaces take turns. Thread: the executor's.
#pragma once

#include "base/clock.hpp"
#include "base/fair_gate.hpp"
#include "kube/object_reader.hpp"
#include "kube/pace.hpp"

#include <chrono>
#include <map>
#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd::kube {

class PacedReader {
 public:
  static constexpr std::chrono::milliseconds kInterval{200};  // between pods of a namespace
  static constexpr unsigned kBurst = 50;
  static constexpr std::size_t kAtOnce = 4;

  PacedReader(const boost::asio::any_io_executor& executor, AccessSource access);

  /// Like ObjectReader::read(), but may wait first.
  boost::asio::awaitable<ObjectAnswers> read(std::string namespaceName, NamedObjects names);

 private:
  Stamp reserve(const std::string& namespaceName);

  const Clock& clock_;
  ObjectReader reader_;
  FairGate gate_;
  std::map<std::string, Pace> paces_;  // by namespace; those with recent reads
};

}  // namespace fallbackd::kube
