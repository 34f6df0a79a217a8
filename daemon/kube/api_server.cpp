// SPDX-License-Identifier: Apache-2.0
#include "kube/api_server.hpp"

#include "base/async/loop_clock.hpp"
#include "base/query.hpp"
#include "kube/view.hpp"

#include <utility>

namespace fallbackd::kube {

ApiServer::ApiServer(const boost::asio::any_io_executor& executor, AccessSource access,
                     const std::string& nodeName, PodSink& sink, AnswerLimits limits)
    : sink_(sink),
      watch_(executor, std::move(access),
             {"/api/v1/pods?fieldSelector=" + queryEscaped("spec.nodeName=" + nodeName), "pods", "PodList",
              Connection::kJson, Connection::kJson},
             *this,
             StateKeeper(SourceKind::apiserver, LoopClock::of(executor),
                         [&sink](const SourceState& now) { sink.stateChanged(now); }),
             limits) {}

void ApiServer::listed(boost::json::array items) {
  for (auto& item : items) {
    auto pod = podObjectOf(std::move(item));
    if (pod) listed_.push_back(std::move(*pod));
  }
  // Page by page: all of them together may need more than the memory.
  dropLongestTexts(listed_, View::kMaxBytes);
}

void ApiServer::listEnds() {
  sink_.listed(SourceKind::apiserver, std::exchange(listed_, {}));
}

Result<> ApiServer::changed(boost::json::object object) {
  FB_TRY(auto pod, podObjectOf(std::move(object)));
  sink_.changed(SourceKind::apiserver, std::move(pod));
  return {};
}

Result<> ApiServer::gone(boost::json::object object) {
  FB_TRY(auto pod, podObjectOf(std::move(object)));
  sink_.gone(SourceKind::apiserver, std::move(pod));
  return {};
}

}  // namespace fallbackd::kube
