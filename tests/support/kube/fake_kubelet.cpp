// SPDX-License-Identifier: Apache-2.0
#include "kube/fake_kubelet.hpp"

#include <stdexcept>

#include <boost/json.hpp>

namespace fallbackd::kube_test {

namespace asio = boost::asio;
namespace json = boost::json;

FakeKubelet::FakeKubelet(const Leaf& leaf) : TlsServer(leaf), released_(executor()) {
  if (!listen()) throw std::runtime_error("listen on loopback");
}

void FakeKubelet::setPods(std::vector<std::string> pods) {
  onThread([this, pods] { pods_ = pods; });
}

void FakeKubelet::hold(bool held) {
  onThread([this, held] {
    held_ = held;
    released_.notify();
  });
}

asio::awaitable<bool> FakeKubelet::respond(Stream& stream, Seen request) {
  while (held_) co_await released_.wait();
  // kubelet sends texts, not Status objects.
  if (!admitted(request)) {
    co_await answer(stream, 401, "Unauthorized");
    co_return true;
  }
  if (request.path != "/pods" || !request.rawQuery.empty()) {
    violation("kubelet was asked for " + request.path + "?" + request.rawQuery);
    co_await answer(stream, 403,
                    "Forbidden (user=system:serviceaccount:fallbackd-system:fallbackd, verb=get, "
                    "resource=nodes, subresource(s)=[proxy])");
    co_return true;
  }
  json::array items;
  for (const auto& pod : pods_) items.push_back(json::parse(pod));
  co_await answer(stream, 200, podList(std::move(items)));
  co_return true;
}

}  // namespace fallbackd::kube_test
