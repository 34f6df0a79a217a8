// SPDX-License-Identifier: Apache-2.0
// Answers of credential providers, as long as they hold. In memory only. Pure: times are handed in.
#pragma once

#include "base/clock.hpp"
#include "watcher/provider_protocol.hpp"

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <tuple>

namespace fallbackd::watcher {

class ProviderCache {
 public:
  using Answer = std::shared_ptr<const ProviderAnswer>;

  /// Null if nothing is kept. An answer about the image goes before one about its registry, and that before
  /// one about everything.
  [[nodiscard]] Answer find(const std::string& provider, const ImageReference& reference, Stamp now) const;

  /// `defaultDuration` counts if the answer does not say how long it holds; zero keeps nothing.
  void add(const std::string& provider, const ImageReference& reference, Answer answer,
           std::chrono::nanoseconds defaultDuration, Stamp now);

  void clear() { kept_.clear(); }
  [[nodiscard]] std::size_t size() const { return kept_.size(); }

  static constexpr std::size_t kMaxAnswers = 512;

 private:
  struct Kept {
    Answer answer;
    Stamp until{};
  };
  void makeRoom(Stamp now);

  std::map<std::tuple<std::string, CacheKeyType, std::string>, Kept> kept_;
};

}  // namespace fallbackd::watcher
