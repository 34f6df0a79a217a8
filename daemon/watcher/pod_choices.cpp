// SPDX-License-Identifier: Apache-2.0
#include "watcher/pod_choices.hpp"

#include "base/strings.hpp"
#include "config/names.hpp"
#include "domain/image_reference.hpp"

#include <utility>

namespace fallbackd::watcher {

namespace {

constexpr std::size_t kMaxValue = 1024;  // bytes; no reference is longer
constexpr std::size_t kMaxKept = 4 * kMaxChosenContainers;
constexpr std::size_t kMaxTold = 3;

class Reader {
 public:
  explicit Reader(const cri::Labels& annotations) : annotations_(annotations) {}

  PodChoices read() {
    for (const auto& [key, value] : annotations_) {
      if (key.starts_with(kBinaryAnnotation)) {
        readChoice(key, key.substr(kBinaryAnnotation.size()), value);
      } else if (key.starts_with(kImageAnnotation)) {
        const auto beside = std::string(kBinaryAnnotation) + key.substr(kImageAnnotation.size());
        if (!annotations_.contains(beside)) refuse(key, "there is no " + quoted(beside) + " beside it");
      }
    }
    return std::move(out_);
  }

 private:
  void readChoice(const std::string& key, const std::string& container, const std::string& value) {
    if (!config::isDnsLabel(container)) {
      return refuse(key, quoted(container) + " is not a name that Kubernetes accepts for a container");
    }
    if (value.size() > kMaxValue) return refuse(key, tooLong(value));
    auto binary = parseBinaryRef(value);
    if (!binary) return refuse(key, binary.error().context);
    PodChoices::Choice choice{container, std::move(*binary), {}};
    const auto image = annotations_.find(std::string(kImageAnnotation) + container);
    if (image != annotations_.end()) {
      if (image->second.size() > kMaxValue) return refuse(image->first, tooLong(image->second));
      const auto reference = ImageReference::parse(image->second);
      if (!reference) return refuse(image->first, reference.error().context);
      choice.image = image->second;
    }
    if (out_.choices.size() < kMaxKept) {
      out_.choices.push_back(std::move(choice));
    } else {
      ++out_.cutOff;
    }
  }

  static std::string tooLong(const std::string& value) {
    return "its " + std::to_string(value.size()) + " bytes are more than " + std::to_string(kMaxValue);
  }

  void refuse(const std::string& key, const std::string& why) {
    if (++out_.refused <= kMaxTold) out_.refusals.push_back("annotation " + quoted(key) + ": " + why);
  }

  const cri::Labels& annotations_;
  PodChoices out_;
};

}  // namespace

PodChoices readChoices(const cri::Labels& annotations) {
  return Reader(annotations).read();
}

}  // namespace fallbackd::watcher
