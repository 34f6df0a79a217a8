// SPDX-License-Identifier: Apache-2.0
// Shares a limited number of places among groups that each want some: the groups take turns, so that a group
// that wants a thousand leaves the others their share.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>

namespace fallbackd {

/// At most `limit` items. An item that several groups want takes one place.
template <class Item>
std::set<Item> fairShare(const std::map<std::string, std::set<Item>>& wanted, std::size_t limit) {
  std::set<Item> chosen;
  std::map<std::string, typename std::set<Item>::const_iterator> next;
  for (const auto& [group, items] : wanted) next.emplace(group, items.begin());
  while (!next.empty() && chosen.size() < limit) {
    for (auto turn = next.begin(); turn != next.end() && chosen.size() < limit;) {
      const auto end = wanted.at(turn->first).end();
      // An item that another group has already chosen costs no turn.
      while (turn->second != end && chosen.contains(*turn->second)) ++turn->second;
      if (turn->second == end) {
        turn = next.erase(turn);
      } else {
        chosen.insert(*turn->second++);
        ++turn;
      }
    }
  }
  return chosen;
}

}  // namespace fallbackd
