"""What more than one paper stands on. Imports go one way: papers -> common; common imports no paper."""
