// SPDX-License-Identifier: Apache-2.0
// kubelet's /pods, as of 1.33: the node's pods, for clients that may get nodes/pods.
#pragma once

#include "base/async/event.hpp"
#include "kube/tls_server.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace fallbackd::kube_test {

class FakeKubelet final : public TlsServer {
 public:
  explicit FakeKubelet(const Leaf& leaf);
  ~FakeKubelet() override { stop(); }
  FakeKubelet(const FakeKubelet&) = delete;
  FakeKubelet& operator=(const FakeKubelet&) = delete;

  void setPods(std::vector<std::string> pods);
  /// While held, answers wait; afterwards they show the pods of that moment.
  void hold(bool held);

 private:
  [[nodiscard]] Asked kind() const override { return Asked::kubelet; }
  boost::asio::awaitable<bool> respond(Stream& stream, Seen request) override;

  std::vector<std::string> pods_;
  bool held_ = false;
  Event released_;
};

}  // namespace fallbackd::kube_test
