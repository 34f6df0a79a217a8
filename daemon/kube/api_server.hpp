// SPDX-License-Identifier: Apache-2.0
// The API server as a source: lists the pods of this node and watches them.
//
// Thread: the executor's. Cancellation: run() ends when it is cancelled.
#pragma once

#include "kube/list_watch.hpp"

#include <string>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd::kube {

class ApiServer final : private CollectionSink {
 public:
  ApiServer(const boost::asio::any_io_executor& executor, AccessSource access, const std::string& nodeName,
            PodSink& sink, AnswerLimits limits = {});

  boost::asio::awaitable<void> run() { return watch_.run(); }

  [[nodiscard]] const SourceState& state() const { return watch_.state(); }

 private:
  void listBegins() override { listed_.clear(); }
  void listed(boost::json::array items) override;
  void listEnds() override;
  Result<> changed(boost::json::object object) override;
  Result<> gone(boost::json::object object) override;

  PodSink& sink_;
  std::vector<PodPtr> listed_;
  ListWatch watch_;
};

}  // namespace fallbackd::kube
