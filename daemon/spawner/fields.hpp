// SPDX-License-Identifier: Apache-2.0
// Both directions of the wire behind the same calls, so that each message is described once: a function
// template that names every field in its order. Called with a FieldWriter it writes a constant message, with
// a FieldReader it fills one. `most`, the limit of a list, is checked by the reader.
#pragma once

#include "spawner/wire.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace fallbackd::launcher {

/// A Message, constant when it is written.
template <class Given, class Message>
concept Of = std::same_as<std::remove_const_t<Given>, Message>;

class FieldWriter {
 public:
  explicit FieldWriter(WireWriter& wire) : wire_(wire) {}

  template <class T>
  void number(T value) {
    wire_.number(value);
  }
  template <class Enum>
  void choice(Enum value) {
    wire_.number(static_cast<std::underlying_type_t<Enum>>(value));
  }
  void flag(bool value) { wire_.number(static_cast<std::uint8_t>(value)); }
  void text(std::string_view value) { wire_.text(value); }
  void texts(const std::vector<std::string>& values, std::size_t /*most*/) { wire_.texts(values); }
  /// `each` describes one item: (wire, item).
  template <class Item, class Each>
  void list(const std::vector<Item>& items, std::size_t /*most*/, Each each) {
    wire_.number(static_cast<std::uint32_t>(items.size()));
    for (const auto& item : items) each(*this, item);
  }
  void map(const std::map<std::string, std::string>& texts, std::size_t /*most*/) {
    wire_.number(static_cast<std::uint32_t>(texts.size()));
    for (const auto& [name, value] : texts) {
      wire_.text(name);
      wire_.text(value);
    }
  }

 private:
  WireWriter& wire_;
};

/// What was read may be anything that fits its type, an enum any number: validate it. See WireReader for the
/// first value that does not fit.
class FieldReader {
 public:
  explicit FieldReader(WireReader& wire) : wire_(wire) {}

  template <class T>
  void number(T& value) {
    value = wire_.number<T>();
  }
  template <class Enum>
  void choice(Enum& value) {
    value = static_cast<Enum>(wire_.number<std::underlying_type_t<Enum>>());
  }
  void flag(bool& value) { value = wire_.number<std::uint8_t>() != 0; }
  void text(std::string& value) { value = wire_.text(); }
  void texts(std::vector<std::string>& values, std::size_t most) { values = wire_.texts(most); }
  template <class Item, class Each>
  void list(std::vector<Item>& items, std::size_t most, Each each) {
    items.resize(wire_.count(most));
    for (auto& item : items) each(*this, item);
  }
  void map(std::map<std::string, std::string>& texts, std::size_t most) {
    const auto count = wire_.count(most);
    for (std::size_t i = 0; i < count && wire_.ok(); ++i) {
      auto name = wire_.text();
      texts[std::move(name)] = wire_.text();
    }
  }

 private:
  WireReader& wire_;
};

}  // namespace fallbackd::launcher
