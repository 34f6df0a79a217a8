// SPDX-License-Identifier: Apache-2.0
#include "hostile.hpp"

#include <array>

namespace fallbackd::bench {

namespace {

using Annotations = std::map<std::string, std::string>;

constexpr std::size_t kNames = 1500;
constexpr std::size_t kLongest = 200'000;  // of the 256 KiB that the API server accepts in total
constexpr std::size_t kTexts = 40;

void choose(Annotations& annotations, const std::string& container, const std::string& binary,
            const std::string& image) {
  annotations["fallbackd.io/binary." + container] = binary;
  annotations["fallbackd.io/image." + container] = image;
}

Annotations manyNames(std::size_t number) {
  Annotations annotations;
  for (std::size_t i = 0; i < kNames; ++i) {
    const auto name = "c" + std::to_string(i);
    choose(annotations, name, "checkout@1.8.3",
           "r" + std::to_string(number) + "-" + std::to_string(i) + kSilentDomain + "/x:1");
  }
  return annotations;
}

Annotations longValues(std::size_t number) {
  Annotations annotations;
  const char letter = static_cast<char>('a' + number % 26);
  choose(annotations, "web", "checkout@" + std::string(kLongest / 4, '1'),
         "r" + std::string(kRefusingDomain) + "/" + std::string(kLongest / 2, letter) + ":1");
  annotations["fallbackd.io/image." + std::string(kLongest / 4, letter)] = "x";
  return annotations;
}

Annotations errorTexts(std::size_t number) {
  static constexpr std::array kWords{
      ": dial tcp 127.0.0.1:5000: connect: connection refused",
      "/x\": dial tcp: lookup r: no such host",
      "/x:1\": failed to do request: i/o timeout",
      "\n2026-01-01T00:00:00Z info  recovery ready  pod=honest-0",
      "\": unexpected status from HEAD request: 503 Service Unavailable",
  };
  Annotations annotations;
  for (std::size_t i = 0; i < kTexts; ++i) {
    // Honest pods also need this registry.
    choose(annotations, "web" + std::to_string(i), "checkout@1.8.3",
           "honest-" + std::to_string((number + i) % 100) + kRefusingDomain + kWords[i % kWords.size()]);
  }
  return annotations;
}

Annotations climbingNames(std::size_t number) {
  static constexpr std::array kNamesOut{
      "../../../../etc/passwd@1", "checkout@../../1.8.3", "/bin/sh@1", "checkout@1.8.3/../../../x", "..@..",
      "check\x01out@1.8.3"};
  Annotations annotations;
  for (std::size_t i = 0; i < kTexts; ++i) {
    choose(annotations, "web" + std::to_string(i), kNamesOut[(number + i) % kNamesOut.size()],
           "r" + std::to_string(i) + kRefusingDomain + "/x:1");
  }
  return annotations;
}

/// Valid fallbacks, but many.
Annotations manyFallbacks(std::size_t number) {
  Annotations annotations;
  for (std::size_t i = 0; i < kTexts; ++i) {
    choose(annotations, "web" + std::to_string(i), "checkout@1.8.3",
           "r" + std::to_string(number % 50) + kRefusingDomain + "/x:" + std::to_string(i));
  }
  return annotations;
}

Annotations silence(std::size_t number) {
  Annotations annotations;
  for (std::size_t i = 0; i < kTexts; ++i) {
    choose(annotations, "web" + std::to_string(i), "checkout@1.8.3",
           "s" + std::to_string(number) + "-" + std::to_string(i) + kSilentDomain + "/x:1");
  }
  return annotations;
}

}  // namespace

Annotations hostileAnnotations(std::size_t number) {
  static constexpr std::array<Annotations (*)(std::size_t), kHostileKinds> kKinds{
      &manyNames, &longValues, &errorTexts, &climbingNames, &manyFallbacks, &silence};
  return kKinds[number % kKinds.size()](number);
}

}  // namespace fallbackd::bench
