// SPDX-License-Identifier: Apache-2.0
// The bytes between daemon and spawner: numbers in native byte order, texts and lists preceded by their
// length. Both ends are the same build on the same machine. The reader validates every length and count all
// the same, because a damaged message must cause an error and not a crash of either side.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace fallbackd::launcher {

class WireWriter {
 public:
  template <class T>
  void number(T value) {
    static_assert(std::is_integral_v<T>);
    char raw[sizeof(T)];
    std::memcpy(raw, &value, sizeof value);
    bytes_.append(raw, sizeof raw);
  }
  void text(std::string_view value);
  void texts(const std::vector<std::string>& values);

  [[nodiscard]] std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

/// After the first value that does not fit, ok() is false and all further values are empty.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : rest_(bytes) {}

  template <class T>
  T number() {
    static_assert(std::is_integral_v<T>);
    T value{};
    const auto raw = take(sizeof(T));
    if (raw.size() == sizeof(T)) std::memcpy(&value, raw.data(), sizeof value);
    return value;
  }
  std::string text();
  std::vector<std::string> texts(std::size_t maxCount);
  /// The number of items that follow, each at least one byte long.
  std::size_t count(std::size_t maxCount);

  void refuse() { ok_ = false; }
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool atEnd() const { return ok_ && rest_.empty(); }

 private:
  std::string_view take(std::size_t size);

  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace fallbackd::launcher
