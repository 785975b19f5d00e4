// The money in a stack, taken by hand.
// refused: can only be accessed within the module
module attacker::stacks_are_not_taken_apart;

use atoma::stack::Stack;
use sui::balance::Balance;
use sui::sui::SUI;

public fun stacks_are_not_taken_apart(stack: &mut Stack<SUI>): Balance<SUI> {
    stack.balance.withdraw_all()
}
