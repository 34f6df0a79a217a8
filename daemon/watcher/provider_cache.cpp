// SPDX-License-Identifier: Apache-2.0
#include "watcher/provider_cache.hpp"

#include <algorithm>
#include <utility>

namespace fallbackd::watcher {

ProviderCache::Answer ProviderCache::find(const std::string& provider, const ImageReference& reference,
                                          Stamp now) const {
  for (const auto type : {CacheKeyType::image, CacheKeyType::registry, CacheKeyType::global}) {
    const auto found = kept_.find({provider, type, cacheKeyOf(type, reference)});
    if (found != kept_.end() && now < found->second.until) return found->second.answer;
  }
  return nullptr;
}

void ProviderCache::add(const std::string& provider, const ImageReference& reference, Answer answer,
                        std::chrono::nanoseconds defaultDuration, Stamp now) {
  const auto duration = answer->cacheDuration.value_or(defaultDuration);
  if (duration <= duration.zero()) return;
  makeRoom(now);
  const auto type = answer->keyType;
  kept_.insert_or_assign(
      {provider, type, cacheKeyOf(type, reference)},
      Kept{std::move(answer), now + std::chrono::duration_cast<Stamp::duration>(duration)});
}

void ProviderCache::makeRoom(Stamp now) {
  std::erase_if(kept_, [&](const auto& one) { return now >= one.second.until; });
  if (kept_.size() < kMaxAnswers) return;
  kept_.erase(std::min_element(kept_.begin(), kept_.end(), [](const auto& left, const auto& right) {
    return left.second.until < right.second.until;
  }));
}

}  // namespace fallbackd::watcher
