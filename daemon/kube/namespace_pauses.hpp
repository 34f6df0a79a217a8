// SPDX-License-Identifier: Apache-2.0
// The namespaces whose annotation pauses new recoveries: all namespaces are listed and watched, by their
// metadata alone. A watch, because a pause takes effect at once; requesting the namespaces of a node's pods
// would cost more requests even at one per minute. What is known is kept on disk for a daemon that starts
// while the API server is unreachable.
//
// Thread: the executor's; writing the file blocks it. Cancellation: run() ends when it is cancelled.
#pragma once

#include "config/pause.hpp"
#include "kube/list_watch.hpp"

#include <functional>
#include <map>
#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd::kube {

/// Both are called on the executor's thread.
struct NamespaceListener {
  std::function<void(const config::Pause::Orders&)> pauses;  // after each change
  std::function<void(const SourceState&)> state;
  std::function<void(const std::string&)> trouble;  // with the file, once for each reason
};

class NamespacePauses final : private CollectionSink {
 public:
  /// The file is in `stateFolder`.
  NamespacePauses(const boost::asio::any_io_executor& executor, AccessSource access, std::string stateFolder,
                  NamespaceListener listener);

  /// Loads what an earlier daemon knew; it counts until the API server has answered. Call it before run().
  /// Blocks.
  const config::Pause::Orders& remember();

  boost::asio::awaitable<void> run() { return watch_.run(); }

  [[nodiscard]] const SourceState& state() const { return watch_.state(); }

 private:
  using Reasons = std::map<std::string, std::string>;  // of paused namespaces

  void listBegins() override { listed_.clear(); }
  void listed(boost::json::array items) override;
  void listEnds() override;
  Result<> changed(boost::json::object object) override;
  Result<> gone(boost::json::object object) override;
  void count(const Reasons& reasons);
  /// A failure is reported once; the next news of the watch tries again.
  void save();

  const Clock& clock_;
  std::string stateFolder_;
  NamespaceListener listener_;
  Reasons listed_;
  Reasons reasons_;
  config::Pause::Orders orders_;
  std::string troubled_;  // why the file is out of date; empty: it is not
  ListWatch watch_;
};

}  // namespace fallbackd::kube
