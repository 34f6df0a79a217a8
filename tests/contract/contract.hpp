// SPDX-License-Identifier: Apache-2.0
// What every implementation of cri::Runtime and cri::EventSource promises. Instantiated with the fake in the
// unit tests and with containerd in the end-to-end tests, so that the fake cannot drift from the real
// runtime.
#pragma once

#include "base/async/pause.hpp"
#include "node.hpp"
#include "run_until.hpp"

#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <gtest/gtest.h>

namespace fallbackd::test {

class Contract : public testing::TestWithParam<Implementation> {
 protected:
  void SetUp() override {
    node = GetParam().make();
    if (node == nullptr)
      GTEST_SKIP() << "scripts/fetch-suites has not fetched the containerd of " << GetParam().name;
  }

  /// Runs the coroutine to its end; throws if it does not end in time.
  template <class T>
  T ask(boost::asio::awaitable<T> question) {
    auto answer = std::make_shared<std::optional<T>>();
    auto failure = std::make_shared<std::exception_ptr>();
    boost::asio::co_spawn(node->loop(), std::move(question), [=](std::exception_ptr error, T value) {
      *failure = error;
      if (!error) *answer = std::move(value);
    });
    const bool ended = runUntil(node->loop(), [&] { return *answer || *failure; });
    if (!ended) throw std::runtime_error("no answer");
    if (*failure) std::rethrow_exception(*failure);
    return std::move(**answer);
  }
  /// Waits for changes that the real runtime does not announce.
  void pause() {
    ask([]() -> boost::asio::awaitable<bool> {
      co_await pauseFor(std::chrono::milliseconds(20));
      co_return true;
    }());
  }
  cri::Runtime& runtime() { return node->runtime(); }

  std::unique_ptr<ContractNode> node;
};

class RuntimeContract : public Contract {};

class EventContract : public Contract {
 protected:
  using Stream = std::unique_ptr<cri::EventStream>;
  Stream subscribe() {
    auto stream = ask(node->events().subscribe());
    if (!stream) throw std::runtime_error(stream.error().message());
    return std::move(*stream);
  }
};

}  // namespace fallbackd::test
