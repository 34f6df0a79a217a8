// SPDX-License-Identifier: Apache-2.0
#include "watcher/real_container.hpp"

#include "domain/image_reference.hpp"
#include "domain/stand_in.hpp"

#include <algorithm>

namespace fallbackd::watcher {

namespace {

constexpr const char* kKubeletsNameLabel = "io.kubernetes.container.name";
constexpr const char* kKubeletsPodUidLabel = "io.kubernetes.pod.uid";
constexpr const char* kHashAnnotation = "io.kubernetes.container.hash";

bool has(const cri::Labels& labels, const char* key, const std::string& value) {
  const auto found = labels.find(key);
  return found != labels.end() && found->second == value;
}

}  // namespace

bool isStandIn(const cri::Container& container) {
  return container.labels.contains(kStandInLabel);
}

bool bearsKubeletsMark(const cri::Container& container, const std::string& podUid) {
  if (isStandIn(container)) return false;
  const auto hash = container.annotations.find(kHashAnnotation);
  return !container.name.empty() && !podUid.empty() &&
         has(container.labels, kKubeletsNameLabel, container.name) &&
         has(container.labels, kKubeletsPodUidLabel, podUid) && hash != container.annotations.end() &&
         !hash->second.empty();
}

bool ofOneRepository(const std::string& reference, const std::string& other) {
  const auto one = ImageReference::parse(reference);
  const auto two = ImageReference::parse(other);
  return one && two && one->repository() == two->repository();
}

cri::Awaitable<Result<bool>> runsImageOf(cri::Runtime& runtime, cri::Container container, std::string image) {
  if (ofOneRepository(container.image, image)) co_return true;
  if (container.imageId.empty()) co_return false;
  const auto references = co_await runtime.imageReferences(container.imageId);
  if (!references) co_return tl::unexpected<Error>(references.error());
  co_return std::any_of(references->begin(), references->end(),
                        [&](const std::string& one) { return ofOneRepository(one, image); });
}

}  // namespace fallbackd::watcher
